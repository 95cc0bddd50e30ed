"""The records that an event becomes, small enough for Kafka."""

from typing import TypeAlias

import orjson

from schemas.event import STATE_ONLY, EventType, MediaEvent
from schemas.reduction import reduced
from service.events.cloudevent import Headers, UnsendableError, cloud_header, data_of, headers_of, require_known
from service.events.limits import Limits

# topic, key, value, headers
Message: TypeAlias = tuple[str, bytes, bytes | None, Headers]

# A record's own, and its batch's; beside it, the key is in three headers.
_OVERHEAD = 1024
_KEYS = 4


def records_of(event: MediaEvent, events_topic: str, assets_topic: str, limits: Limits, least: int) -> list[Message]:
    """Give an event's records, reduced to what the topics take; raises `UnsendableError`, or whatever else is wrong with it.

    An event's data and a state are each reduced by themselves, as little as their topic allows. `least`: that of the limits.
    """
    if not event.sound:
        _check(event)
    key = event.subject.encode()
    small = least - _KEYS * len(key) - _OVERHEAD
    records: list[Message] = []
    if event.type != STATE_ONLY:
        headers = headers_of(event, key)
        data = data_of(event)
        if len(data) > small and size_of(key, data) > limits.of(events_topic):
            data = _reduced_data(event, key, events_topic, limits)
        records.append((events_topic, key, data, headers))
    if event.state is not None or event.type == EventType.PURGED:
        state = event.state
        if state is not None and len(state) > small and size_of(key, state) > limits.of(assets_topic):
            state = _reduced_state(state, key, assets_topic, limits)
        records.append((assets_topic, key, state, [cloud_header(event.cloud)]))
    return records


def size_of(key: bytes, value: bytes | None) -> int:
    """Give the bytes of a record, at the most."""
    return len(value or b"") + _KEYS * len(key) + _OVERHEAD


def _check(event: MediaEvent) -> None:
    """Look at what somebody else than the mirror has put in the outbox."""
    if event.type != STATE_ONLY:
        require_known(event.type)
    if not event.subject:
        raise UnsendableError("it has no subject")
    if _is_no_object(event.about):
        raise UnsendableError("what it tells is no JSON object")
    if event.state is not None and _is_no_object(event.state):
        raise UnsendableError("its state is no JSON object")
    if event.type.startswith("media.asset.") and event.revision is None:
        raise UnsendableError("it is about an asset, and has no revision")
    if event.state is not None and event.revision is None:
        raise UnsendableError("it has a state, and is about no asset")


def _is_no_object(data: bytes) -> bool:
    try:
        value = orjson.loads(data)
    except ValueError:
        return True
    # what is put together from it, byte by byte, must begin and end as it does
    return not isinstance(value, dict) or not value or not (data.startswith(b"{") and data.endswith(b"}"))


def _reduced_data(event: MediaEvent, key: bytes, topic: str, limits: Limits) -> bytes:
    most = limits.of(topic) - size_of(key, None)
    state, about = reduced(event.state, event.about, most)
    return _fitting(data_of(event._replace(state=state, about=about)), most, topic)


def _reduced_state(state: bytes, key: bytes, topic: str, limits: Limits) -> bytes:
    most = limits.of(topic) - size_of(key, None)
    least, _ = reduced(state, b"{}", most)
    return _fitting(least or b"", most, topic)


def _fitting(value: bytes, most: int, topic: str) -> bytes:
    if len(value) > most:
        raise UnsendableError(f"too large for {topic}, even without what can be left out")
    return value
