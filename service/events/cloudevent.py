"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the data is the value.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from functools import lru_cache

from schemas.event import SPEC_VERSION, EventType, MediaEvent

Headers = list[tuple[str, bytes]]


class UnsendableError(ValueError):
    """An event that can't be sent, whatever Kafka says of it. Its text says why."""


# Most of an event's headers are those of the event before: they are made once.
_SPEC_VERSION = ("ce_specversion", SPEC_VERSION.encode())
_CONTENT_TYPE = ("content-type", b"application/json")
_TYPES: dict[str, tuple[str, bytes]] = {one: ("ce_type", one.encode()) for one in EventType}


def require_known(type_: str) -> tuple[str, bytes]:
    """Give the header of a type; raises `UnsendableError` when a newer mirror must have written it."""
    if type_ not in _TYPES:
        raise UnsendableError(f"unknown type {type_}")
    return _TYPES[type_]


def headers_of(event: MediaEvent, subject: bytes) -> Headers:
    """Give the attributes of an event, `subject` in bytes; raises `UnsendableError` for one of a type that we don't know."""
    type_ = _TYPES.get(event.type) or require_known(event.type)
    headers = [
        _SPEC_VERSION,
        ("ce_id", event.event_id.encode()),
        _source_of(event.cloud),
        type_,
        ("ce_subject", subject),
        ("ce_time", event.event_time.isoformat().replace("+00:00", "Z").encode()),
        ("ce_partitionkey", subject),
        _CONTENT_TYPE,
    ]
    if event.revision is not None:
        headers.append(("ce_revision", b"%d" % event.revision))
    return headers


def data_of(event: MediaEvent) -> bytes:
    """Give the data: the state, if there is one, beside what else is told."""
    if event.revision is None:
        return event.about
    return b'{"asset":%b,%b' % (event.state or b"null", event.about[1:])


@lru_cache(maxsize=1000)
def cloud_header(cloud: str) -> tuple[str, bytes]:
    """Give the header of a state."""
    return ("cloud", cloud.encode())


@lru_cache(maxsize=1000)
def _source_of(cloud: str) -> tuple[str, bytes]:
    return ("ce_source", f"/cloudinary/{cloud}".encode())
