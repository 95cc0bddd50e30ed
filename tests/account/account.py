"""The account: its clock, what it holds, and what it has told."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from tests.account.asset import Content, Name, StoredAsset
from tests.account.telling import body, to_the_microsecond

_KEY = "333333333333333"


@dataclass(frozen=True)
class Job:
    """Work ordered of the account, that ends at some time."""

    type: str  # the notification that tells of its end
    asset: StoredAsset
    content: Content  # as it was then
    ordered_at: datetime
    kind: str = ""  # of a moderation


class Account:
    """Operations on it are in the modules beside this one."""

    def __init__(self, *, ticks_a_second: int = 1) -> None:
        self._ticks_a_second = ticks_a_second
        self.now = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
        self.assets: list[StoredAsset] = []
        self.folders: set[str] = set()
        self.jobs: list[Job] = []
        self.told: list[bytes] = []
        self.silently_changed: set[str] = set()  # asset ids: no notification says into what
        self.story: list[str] = []
        self.way: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict  # how it says what it says
        self._numbers = count()

    def __repr__(self) -> str:
        return "\n  ".join(("the account's story:", *self.story))

    def pass_time(self, gap: timedelta) -> None:
        self.now += max(gap, timedelta(microseconds=1))

    def reach_the_next_second(self) -> None:
        self.now = self.now.replace(microsecond=0) + timedelta(seconds=1)

    def fresh_version(self) -> int:
        """Seconds since 1970, as documented, or in another unit, that makes numbers which are no times."""
        return int(self.now.timestamp() * self._ticks_a_second)

    def fresh_id(self) -> str:
        return hashlib.md5(b"%d" % next(self._numbers)).hexdigest()

    def live(self) -> list[StoredAsset]:
        return [asset for asset in self.assets if asset.deleted_at is None]

    def holder(self, name: Name) -> StoredAsset | None:
        return next((asset for asset in self.live() if asset.name == name), None)

    def inside(self, folder: str) -> list[StoredAsset]:
        """The live assets at or below a folder."""
        return [asset for asset in self.live() if is_at_or_below(asset.asset_folder, folder)]

    def tell(self, notification_type: str, fields: Mapping[str, Any], *, ordered_at: datetime | None = None) -> None:
        context = {
            "triggered_at": to_the_microsecond(ordered_at or self.now),
            "triggered_by": {"source": "api", "id": _KEY},
        }
        told = {
            "notification_type": notification_type,
            **self.way(fields),
            "notification_context": context,
            "signature_key": _KEY,
        }
        self.told.append(body(told.items()))
        self.note(self.told[-1].decode())

    def change_silently(self, asset: StoredAsset, what: str) -> None:
        self.silently_changed.add(asset.asset_id)
        self.note(f"untold: {asset.asset_id} {what}")

    def note(self, what: str) -> None:
        self.story.append(f"{to_the_microsecond(self.now)} {what}")


def is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
