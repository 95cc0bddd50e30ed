"""Where each partition is read from: PostgreSQL says, Kafka must agree, and a disagreement is said aloud."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from service.errors import MediamirrorError
from service.mirror.store import Advance, Position, Store


class RecordsLostError(MediamirrorError):
    """Records {expected} up to {earliest} (not included) of {topic}, partition {partition}, were removed by Kafka's retention
    before the mirror had read them, so the mirror may lack what they said. To go on without them:
    `mediamirror mirror --accept-gap {partition}:{earliest}`.
    """


class OffsetBeyondEndError(MediamirrorError):
    """The mirror has read {topic}, partition {partition}, up to {expected}, but it ends at {latest}: the topic was made anew, or
    Kafka lost records. To read it again from its beginning, which is safe:
    `mediamirror mirror --accept-gap {partition}:{earliest}`.
    """


class ForeignOffsetError(MediamirrorError):
    """The mirror has read {topic}, partition {partition}, on the Kafka cluster {stored}, but this is the cluster {cluster}. To
    read it here from its beginning, which is safe: `mediamirror mirror --accept-gap {partition}:{earliest}`.
    """


class Positions(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Where each partition that is ours is to be read on, and the consumer kept in step with it.

    `joined` is set once the group has given us our share of the partitions, which may be none.
    """

    def __init__(self, consumer: AIOKafkaConsumer, store: Store, topic: str, cluster: str, joined: asyncio.Event) -> None:
        self._consumer = consumer
        self._store = store
        self._topic = topic
        self._cluster = cluster
        self._error: Exception | None = None
        self.next: dict[int, Position] = {}
        self._joined = joined

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forget partitions; a batch of theirs that is being written is fenced by its offsets."""
        for partition in revoked:
            self.next.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take partitions over. aiokafka only logs what a listener raises, so `check` raises it for us."""
        try:
            await self.load(assigned)
            self._joined.set()
        except Exception as error:  # noqa: BLE001  # raised again by check()
            self._error = error

    def advance(self, advances: Iterable[Advance]) -> None:
        """Note what has been applied of partitions that are still where the batch began: others were revoked meanwhile."""
        for advance in advances:
            if self.next.get(advance.partition) == advance.expected:
                self.next[advance.partition] = advance.next

    def hold(self, advances: Iterable[Advance]) -> bool:
        """Tell whether these partitions are still ours, and stand where these have brought them."""
        return all(self.next.get(advance.partition) == advance.next for advance in advances)

    def check(self) -> None:
        """Raise what went wrong when partitions were assigned."""
        if self._error is not None:
            raise self._error

    async def load(self, partitions: Collection[TopicPartition]) -> None:
        """Seek to what PostgreSQL says has been applied; raises when Kafka no longer has the records that come next."""
        if not partitions:
            return
        applied = await self._store.positions()
        earliest: Mapping[TopicPartition, int] = await self._consumer.beginning_offsets(partitions)
        latest: Mapping[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        for partition in partitions:
            number = partition.partition
            if number not in applied:
                await self._store.begin_offset(number, self._cluster)
            cluster, position = applied.get(number, (self._cluster, Position(0)))
            expected = position.offset
            fields: dict[str, Any] = {
                "topic": self._topic, "partition": number, "expected": expected, "stored": cluster, "cluster": self._cluster,
                "earliest": earliest[partition], "latest": latest[partition],
            }  # fmt: skip
            if cluster != self._cluster:
                raise ForeignOffsetError(**fields)
            if expected < earliest[partition]:
                raise RecordsLostError(**fields)
            if expected > latest[partition]:
                raise OffsetBeyondEndError(**fields)
            self._consumer.seek(partition, expected)
            self.next[number] = position
