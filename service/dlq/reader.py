"""Reads the dead-letter topic."""

from collections.abc import AsyncGenerator

import structlog

from service.dlq.letter import DeadLetter
from service.kafka import partition_bounds
from service.settings import Settings
from service.topic import read_topic

log = structlog.get_logger(__name__)


async def read_letters(settings: Settings) -> AsyncGenerator[DeadLetter]:
    """Give all dead letters that there are now, oldest first; raises `KafkaUnreachableError`."""
    topic = settings.dead_letter_topic
    async for records in read_topic(settings, topic, await partition_bounds(settings, topic)):
        for record in records:
            if (letter := DeadLetter.read(record)) is not None:
                yield letter
            else:
                log.warning("no dead letter of a mirror", partition=record.partition, offset=record.offset)
