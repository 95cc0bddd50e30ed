"""Is every record on the log signed by whom it says?"""

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from service.kafka import topic_bounds
from service.mirror.entry import Record
from service.replay.scratch import Progress
from service.settings import Settings
from service.signatures import Proof, Prover
from service.topic import read_topic


@dataclass(frozen=True, slots=True)
class Unproven:
    """A record, by what it says of itself, and what its signature proves."""

    partition: int
    offset: int
    cloud: str | None
    key_id: str | None
    proof: Proof


async def prove_log(
    settings: Settings, tell: Callable[[Unproven], None], *, progress: Progress, expect: Callable[[int], None]
) -> Counter[Proof]:
    """Prove each record that is on the log now; counts them, and tells of those that are not proven.

    Raises `NoCloudError`, `NoSuchTopicError` or `KafkaUnreachableError`.
    """
    prover = Prover(settings)
    counts: Counter[Proof] = Counter()
    bounds = await topic_bounds(settings, settings.notifications_topic)
    expect(sum(latest - earliest for earliest, latest in bounds.values()))
    async with aclosing(read_topic(settings, settings.notifications_topic, bounds)) as batches:
        async for records in batches:
            for record in records:
                counts[proof := prover.prove(record)] += 1
                if proof is not Proof.PROVEN:
                    tell(_unproven(record, proof))
            progress(len(records))
    return counts


def _unproven(record: Record, proof: Proof) -> Unproven:
    headers = dict(record.headers)

    def text(name: str) -> str | None:
        value = headers.get(name)
        return None if value is None else value.decode(errors="backslashreplace")

    return Unproven(record.partition, record.offset, text("cloud"), text("key-id"), proof)
