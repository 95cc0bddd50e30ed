"""Reads `media.events` as any subscriber would."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import structlog

from schemas.json import NotAnObjectError, parse_object
from service.kafka import topic_bounds
from service.mirror.entry import Record
from service.settings import Settings
from service.topic import read_topic

log = structlog.get_logger(__name__)

_PREFIX = "ce_"


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent as read: its attributes, without their prefix, and its data."""

    attributes: dict[str, str]
    data: dict[str, Any]

    @classmethod
    def read(cls, record: Record) -> Self | None:
        """Read a record of the topic; None for one that no relay wrote."""
        try:
            attributes = {
                name.removeprefix(_PREFIX): value.decode() for name, value in record.headers if name.startswith(_PREFIX)
            }
            data = parse_object(record.value or b"")
        except (AttributeError, UnicodeDecodeError, NotAnObjectError):  # AttributeError: a header may be null
            return None
        return cls(attributes, data) if attributes else None

    @property
    def type(self) -> str:
        """CloudEvents' `type`."""
        return self.attributes.get("type", "")

    def is_about(self, asset: str) -> bool:
        """Tell whether an asset id, or the public id after the change, is this."""
        return asset in (self.attributes.get("subject"), (self.data.get("asset") or {}).get("public_id"))

    def as_json(self) -> dict[str, Any]:
        """Give the event as CloudEvents' JSON format has it."""
        return {**self.attributes, "datacontenttype": "application/json", "data": self.data}


async def read_events(settings: Settings, *, follow: bool) -> AsyncGenerator[Event]:
    """Give the events there are, or, to `follow`, those that come; raises `NoSuchTopicError` or `KafkaUnreachableError`."""
    bounds = await topic_bounds(settings, settings.events_topic)
    ranges = {number: (latest, None) if follow else (earliest, latest) for number, (earliest, latest) in bounds.items()}
    async with aclosing(read_topic(settings, settings.events_topic, ranges)) as batches:
        async for records in batches:
            for record in records:
                if (event := Event.read(record)) is not None:
                    yield event
                else:
                    log.warning("no media event", partition=record.partition, offset=record.offset)
