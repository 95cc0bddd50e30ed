"""Sends dead letters again, as what they were."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from service.dlq.letter import DeadLetter, LetterId
from service.dlq.reader import read_letters
from service.dlq.redrives import Redrives
from service.errors import MediamirrorError
from service.kafka import ensure_topics, let_go, make_producer, start, unusable
from service.settings import Settings

_CONNECT_SECONDS = 15.0
_CLOSE_SECONDS = 5.0


class NoSuchLetterError(MediamirrorError):
    """There is no dead letter {ids}. `mediamirror dlq list --all` lists them all."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter that is on the notifications topic again."""

    letter: DeadLetter
    partition: int
    offset: int


async def letters_called(ids: Collection[LetterId], settings: Settings) -> list[DeadLetter]:
    """Give these dead letters, oldest first; raises `NoSuchLetterError` unless all of them are there."""
    async with aclosing(read_letters(settings)) as letters:
        found = [letter async for letter in letters if letter.id in ids]
    if missing := sorted(set(ids) - {letter.id for letter in found}):
        raise NoSuchLetterError(ids=", ".join(missing))
    return found


async def letters_waiting(redrives: Redrives, limit: int, settings: Settings) -> list[DeadLetter]:
    """Give up to `limit` of those that were not sent again yet, oldest first."""
    found: list[DeadLetter] = []
    async with aclosing(read_letters(settings)) as letters:
        async for letter in letters:
            if redrives.when(letter) is None:
                found.append(letter)
                if len(found) == limit:
                    break
    return found


async def redrive(letters: Collection[DeadLetter], redrives: Redrives, settings: Settings) -> AsyncGenerator[Sent]:
    """Put letters onto the notifications topic with their key, value and headers, one by one, and remember each once it is acked.

    When it is cut short, at most one has been sent that is not remembered; sent twice, it does no harm. Raises
    `KafkaUnreachableError`.
    """
    async with _producer(settings) as producer:
        for letter in letters:
            async with asyncio.timeout(settings.gateway_ack_timeout):
                sent = await producer.send_and_wait(
                    settings.notifications_topic, letter.value, key=letter.key, headers=list(letter.headers)
                )
            await redrives.remember(letter, sent.partition, sent.offset)
            yield Sent(letter, sent.partition, sent.offset)


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    await ensure_topics(settings, settings.notifications_topic)
    producer = make_producer(settings)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await start(producer)
        yield producer
    except (KafkaError, TimeoutError) as error:
        raise unusable(settings, error) from error
    finally:
        await let_go(producer, patience=_CLOSE_SECONDS)
