"""From a `poll://` channel to Kafka: fetch, verify, publish, and acknowledge what Kafka has acked."""

import asyncio
import base64
import binascii
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from cloudinary import api

from schemas.envelope import Source
from service.cloudinary.client import Account, Purpose
from service.cloudinary.errors import CloudinaryError, RateLimitedError
from service.gateway.record import Recorder
from service.gateway.signature import RefusedSignatureError, read_claim
from service.publisher import NotDurableError, Publisher, RefusedByKafkaError
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_MESSAGES = 100  # the most that one call gives, and the most that one acknowledges
_WAIT_SECONDS = 10  # how long a call waits for messages
_VISIBILITY_SECONDS = 60  # before an unacknowledged message comes again: well over what Kafka is given for its ack
_BATCHES = 4  # in flight, by channel
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
_ACK_TRIES = 3
_REFUSED_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Message:
    receipt: str
    body: bytes
    signature: str | None
    timestamp: str | None


class Poller:
    """Drains the channel of one cloud.

    The rule is the gateway's: acknowledged once durable, and never else; while Kafka is away nothing is fetched. A signature's
    age refuses nothing here, since a message may lie in the channel for long, and comes over a connection that we opened.

    A message whose signature doesn't hold is logged, counted, and *not* acknowledged. Most likely a key isn't configured yet, and
    acknowledged it would be lost; so it comes again, at the pace of the visibility timeout, until it can be verified or
    Cloudinary's retention ends. It holds up nothing behind it. What is proven to be Cloudinary's and is no JSON object goes
    the way of all others, and the mirror makes a dead letter of it.
    """

    def __init__(
        self,
        settings: Settings,
        account: Account,
        publisher: Publisher,
        metrics: Metrics,
        *,
        wait_seconds: int = _WAIT_SECONDS,
        visibility_seconds: int = _VISIBILITY_SECONDS,
    ) -> None:
        self._account = account
        self._channel = settings.poller_channel
        self._recorder = Recorder(settings, Source.POLL)
        self._policy = replace(self._recorder.policy, max_age=sys.maxsize)
        self._publisher = publisher
        self._metrics = metrics
        self._wait = wait_seconds
        self._visibility = visibility_seconds
        self._timeout = wait_seconds + settings.cloudinary_timeout
        self._refused: OrderedDict[str, None] = OrderedDict()  # signatures of messages that were logged already
        self._durable = True  # as far as the last batch told
        self._reached = False

    async def is_ready(self) -> bool:
        """Tell whether the channel answered the last time."""
        return self._reached

    async def run(self) -> None:
        """Drain until cancelled. What is unfinished then comes again, to whoever polls next."""
        slots = asyncio.Semaphore(_BATCHES)
        async with asyncio.TaskGroup() as batches:
            while True:
                await slots.acquire()
                await self._until_durable()
                messages = await self._fetch()
                batches.create_task(self._handle(messages)).add_done_callback(lambda _: slots.release())

    async def _until_durable(self) -> None:
        """Wait while Kafka is away: what would be claimed could only lie here, and hidden from another poller."""
        while not self._durable:
            self._durable = await self._publisher.is_ready()
            if not self._durable:
                await asyncio.sleep(_FIRST_RETRY_SECONDS)

    async def _fetch(self) -> Sequence[Mapping[str, Any]]:
        pause = _FIRST_RETRY_SECONDS
        while True:
            wait = self._wait if self._reached else 0  # to know soon whether it can be reached
            try:
                answer = await self._account.call(
                    api.notifications,
                    purpose=Purpose.WRITE,
                    channel=self._channel,
                    max_messages=_MESSAGES,
                    wait_seconds=wait,
                    visibility_timeout=self._visibility,
                    timeout=self._timeout,
                )
            except CloudinaryError as error:
                self._reached = False
                if not error.passing:
                    pause = _LONGEST_RETRY_SECONDS  # until somebody does something about it
                seconds = error.resets_in if isinstance(error, RateLimitedError) else pause
                log.error(
                    "channel can't be polled", cloud=self._account.name, channel=self._channel, error=str(error), again=seconds
                )
                await asyncio.sleep(seconds)
                pause = min(pause * 2, _LONGEST_RETRY_SECONDS)
                continue
            self._reached = True
            messages = answer.body.get("messages")
            if isinstance(messages, list) and messages:
                return [message if isinstance(message, dict) else {} for message in messages]
            if answer.seconds < min(wait, _FIRST_RETRY_SECONDS):
                await asyncio.sleep(_FIRST_RETRY_SECONDS)  # it did not wait as it was asked to
            return ()

    async def _handle(self, messages: Sequence[Mapping[str, Any]]) -> None:
        receipts = await asyncio.gather(*(self._take_in(message) for message in messages))
        if done := [receipt for receipt in receipts if receipt is not None]:
            await self._acknowledge(done)

    async def _take_in(self, message: Mapping[str, Any]) -> str | None:
        """Give the receipt of a message that is done with, None of one that has to come again."""
        try:
            read = _read(message)
            claim = read_claim(read.signature, read.timestamp, has_v2=False, now=time.time(), policy=self._policy)
            record = self._recorder.record(self._account.name, read.body, claim)
        except (RefusedSignatureError, _UnreadableMessageError) as refused:
            self._refuse(message, refused)
            return None
        try:
            await self._publisher.publish(record.key, record.value, record.headers)
        except RefusedByKafkaError as refused:
            log.error("kafka takes no such record, left in the channel", cloud=self._account.name, bytes=len(record.value))
            self._count("refused", refused.reason)
            return None
        except NotDurableError as not_durable:
            if self._durable:
                log.error("message not durable, left in the channel", cloud=self._account.name, reason=not_durable.reason)
            self._durable = False
            self._count("undurable", not_durable.reason)
            return None
        if not record.is_object:
            log.error("signed message is not a JSON object, kept", cloud=self._account.name, key=record.key)
        self._count("accepted", "" if record.is_object else "not_an_object")
        return read.receipt

    def _refuse(self, message: Mapping[str, Any], refused: "RefusedSignatureError | _UnreadableMessageError") -> None:
        self._count("refused", refused.reason)
        known = f"{message.get('timestamp')} {message.get('signature')}"
        if known not in self._refused:
            self._refused[known] = None
            while len(self._refused) > _REFUSED_REMEMBERED:
                self._refused.popitem(last=False)
            log.error(
                "message refused, left in the channel; `mediamirror doctor` tells more",
                cloud=self._account.name,
                reason=refused.reason,
                detail=str(refused),
                batch=message.get("batch_id"),
                start=str(message.get("signed_payload"))[:200],
            )

    async def _acknowledge(self, receipts: list[str]) -> None:
        for attempt in range(_ACK_TRIES):
            try:
                answer = await self._account.call(api.ack_notifications, receipts, purpose=Purpose.WRITE)
            except CloudinaryError as error:
                log.warning("not acknowledged, comes again", cloud=self._account.name, messages=len(receipts), error=str(error))
                if not error.passing:
                    return
                await asyncio.sleep(_FIRST_RETRY_SECONDS * attempt)
                continue
            late = [one for one in answer.body.get("results") or () if one.get("status") != "acked"]
            if late:
                log.warning("acknowledged too late, comes again", cloud=self._account.name, messages=len(late))
            return

    def _count(self, outcome: str, reason: str) -> None:
        self._metrics.polled.labels(self._account.name, outcome, reason).inc()


class _UnreadableMessageError(Exception):
    """A message that has not the form that Cloudinary gives them."""

    reason = "unreadable"


def _read(message: Mapping[str, Any]) -> _Message:
    """Read a message; its `payload` is the same as parsed by Cloudinary, and proves nothing."""
    try:
        encoded = message["signed_payload"].encode("ascii")
        body = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        receipt = message["receipt_handle"]
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError, binascii.Error) as error:
        raise _UnreadableMessageError(repr(error)) from error
    if not isinstance(receipt, str):
        raise _UnreadableMessageError("its receipt is no text")
    signature, timestamp = message.get("signature"), message.get("timestamp")
    return _Message(receipt, body, signature and str(signature), timestamp and str(timestamp))
