"""The four kinds of notifications that `apply` measures."""

from collections.abc import Iterable
from enum import StrEnum

from bench.notifications import inserts, mixed, updates


class Workload(StrEnum):
    """What the notifications of a topic do to the mirror."""

    INSERTS = "inserts"
    UPDATES = "updates"
    STALE = "stale duplicates"
    MIX = "mix 1 : 3"

    @property
    def topic(self) -> str:
        """Its notifications' topic."""
        return f"apply.{self.name.lower()}"

    def bodies(self, count: int) -> Iterable[bytes]:
        """Give its notifications; those of `STALE` are those of `UPDATES`, byte for byte."""
        if self is Workload.INSERTS:
            return inserts(count)
        return mixed(count) if self is Workload.MIX else updates(count)


# In the order in which one database sees them; `MIX` has another.
SUCCESSIVE = (Workload.INSERTS, Workload.UPDATES, Workload.STALE)
