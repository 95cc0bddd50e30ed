"""How large a record of each topic may be: as large as we make our topics, until Kafka has refused one of that size."""

import copy
from time import monotonic
from typing import Self

from service.kafka import MAX_RECORD_BYTES

_FORGET_SECONDS = 600.0  # an operator may have raised a topic's limit meanwhile


class Limits:
    """What was learned of the topics' own limits, which may be lower than ours, and which not every client may ask for."""

    def __init__(self) -> None:
        self._learned: dict[str, int] = {}
        self._batches: dict[str, int] = {}
        self._learned_at = monotonic()

    @property
    def least(self) -> int:
        """The lowest of them: what is smaller is small enough for every topic."""
        return min(self._learned.values(), default=MAX_RECORD_BYTES)

    @property
    def has_batches(self) -> bool:
        """Whether some topic takes batches of less than ours."""
        return bool(self._batches)

    def copy(self) -> Self:
        """Give one that learns apart from this one."""
        return copy.deepcopy(self)

    def of(self, topic: str) -> int:
        """Give the bytes that a record may have: key, value and headers."""
        return self._learned.get(topic, MAX_RECORD_BYTES)

    def learn(self, topic: str, most: int) -> None:
        """Take it that this topic takes no more."""
        self._learned[topic] = min(most, self.of(topic))
        self._learned_at = monotonic()

    def of_batch(self, topic: str) -> int:
        """Give the bytes beyond which a batch gets no more records."""
        return self._batches.get(topic, MAX_RECORD_BYTES)

    def learn_of_batch(self, topic: str, most: int) -> None:
        """Take it that this topic takes no more in one batch, though perhaps a single record of that size."""
        self._batches[topic] = min(most, self.of_batch(topic))
        self._learned_at = monotonic()

    def forget(self) -> None:
        """Forget what was learned a while ago."""
        if (self._learned or self._batches) and monotonic() - self._learned_at > _FORGET_SECONDS:
            self._learned.clear()
            self._batches.clear()
