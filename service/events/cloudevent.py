"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the data is the value.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from schemas.event import SPEC_VERSION, MediaEvent

Headers = list[tuple[str, bytes]]


def headers_of(event: MediaEvent) -> Headers:
    """Give the attributes of an event."""
    headers = [
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_id", event.event_id.encode()),
        ("ce_source", f"/cloudinary/{event.cloud}".encode()),
        ("ce_type", event.type.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", event.event_time.isoformat().replace("+00:00", "Z").encode()),
        ("ce_partitionkey", event.subject.encode()),
        ("content-type", b"application/json"),
    ]
    if event.revision is not None:
        headers.append(("ce_revision", b"%d" % event.revision))
    return headers


def data_of(event: MediaEvent) -> bytes:
    """Give the data: the state, if there is one, beside what else is told."""
    if event.revision is None:
        return event.about
    return b'{"asset":' + (event.state or b"null") + b"," + event.about[1:]
