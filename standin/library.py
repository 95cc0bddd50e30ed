"""A small library that people seem to work in: it grows to its size and then keeps changing."""

import asyncio
import random
from collections.abc import Callable
from typing import Self

from standin.account import Account
from standin.asset import Asset
from standin.errors import ApiError
from standin.picture import Landscape

_ROOT = "demo"
_FOLDERS = ("catalogue", "campaign", "press", "archive", "social")
_PLACES = ("alps", "andes", "dolomites", "fjord", "highlands", "karakoram", "lofoten", "pamir", "rockies", "tatra")
_TAGS = ("dawn", "dusk", "print", "web", "hero", "approved", "draft", "winter", "summer", "licensed")
_AUTHORS = ("Ada", "Grace", "Katherine", "Margaret", "Mary")
_MOST_DELETED = 40  # images that can still be restored
_RESTORED = 0.3  # of what the library grows by
_BACKED_UP = 0.3  # of the images that are overwritten; the others can't be restored when they are deleted


class Library:
    """A context manager; while it is entered, things happen at about `rate` a second, all in the account's folder `demo`.

    What it knows of the library it reads from the account each time, so it goes on after a restart, and beside other users.
    `size` is about how many images there come to be. `seed` makes the choices, not the ids, the same from run to run.
    """

    def __init__(self, account: Account, *, size: int = 150, rate: float = 3.0, seed: int | None = None) -> None:
        self._account = account
        self._size = size
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311  # which image is renamed is no secret
        self._working: asyncio.Task[None] | None = None
        self._deeds: dict[Callable[[Asset], object], int] = {  # with how often each is done, beside the others
            self._overwrite: 20,
            self._tag: 18,
            self._untag: 8,
            self._describe: 14,
            self._retitle: 10,
            self._move: 10,
            self._rename: 8,
            self._delete: 9,
            self._rename_folder: 1,
            self._draft: 1,
        }

    async def __aenter__(self) -> Self:
        self._working = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._working is not None:
            self._working.cancel()
            [result] = await asyncio.gather(self._working, return_exceptions=True)
            if isinstance(result, Exception):
                raise result

    async def _work(self) -> None:
        while True:
            self.act()
            await asyncio.sleep(self._random.uniform(0.5, 1.5) / self._rate)

    def act(self) -> None:
        """Do one thing: upload or restore while the library is small, mostly change something once it has its size."""
        present = self._images(alive=True)
        growing = self._random.random() < (0.8 if len(present) < self._size else 0.05)
        try:
            if growing or not present:
                self._grow()
                return
            [deed] = self._random.choices(list(self._deeds), list(self._deeds.values()))
            deed(self._random.choice(present))
        except ApiError:
            return  # somebody was faster, or the name is taken: another time

    # What is done

    def _grow(self) -> None:
        deleted = self._images(alive=False)
        if len(deleted) > _MOST_DELETED:
            self._forget(deleted[0])
        if deleted and self._random.random() < _RESTORED:
            self._account.restore(self._random.choice(deleted))
            return
        place = self._random.choice(_PLACES)
        number = self._random.randrange(10_000)
        folder = self._folder()
        self._account.upload(
            Landscape(number, self._hour()).png(),
            public_id=f"{_ROOT}/{place}-{number:04}",
            asset_folder=folder,
            display_name=f"{place.title()} {number:04}",
            original_filename=f"{place}.png",
            tags=[place, *self._random.sample(_TAGS, self._random.randrange(3))],
            context={"alt": f"The {place} in the distance", "author": self._random.choice(_AUTHORS)},
        )

    def _overwrite(self, one: Asset) -> None:
        """Put the same place in another light."""
        place = int("".join(filter(str.isdecimal, one.public_id))[:4] or 0)
        backed_up = self._random.random() < _BACKED_UP
        self._account.upload(Landscape(place, self._hour()).png(), public_id=one.public_id, backup=backed_up)

    def _tag(self, one: Asset) -> None:
        self._account.change_tags([one.public_id], "add", [self._random.choice(_TAGS)])

    def _untag(self, one: Asset) -> None:
        if one.tags:
            self._account.change_tags([one.public_id], "remove", [self._random.choice(one.tags)])

    def _describe(self, one: Asset) -> None:
        said = {"author": self._random.choice(_AUTHORS), "caption": f"Seen at {self._random.randrange(24)} o'clock"}
        self._account.change_context([one.public_id], "add", said)

    def _retitle(self, one: Asset) -> None:
        title = f"{self._random.choice(_PLACES).title()} at {self._random.choice(('dawn', 'noon', 'dusk', 'night'))}"
        self._account.update(one.public_id, display_name=title)

    def _move(self, one: Asset) -> None:
        self._account.update(one.public_id, asset_folder=self._folder())

    def _rename(self, one: Asset) -> None:
        stem = one.public_id.removesuffix("-final")
        self._account.rename(one.public_id, f"{stem}-final" if stem == one.public_id else stem)

    def _delete(self, one: Asset) -> None:
        self._account.destroy(one.public_id)

    def _rename_folder(self, _one: Asset) -> None:
        """Give a folder another name, or its own again."""
        name = self._random.choice(_FOLDERS)
        current = {folder["path"] for folder in self._account.all_folders()}
        plain, old = f"{_ROOT}/{name}", f"{_ROOT}/{name} (old)"
        if old in current and plain not in current:
            self._account.rename_folder(old, plain)
        elif plain in current and old not in current:
            self._account.rename_folder(plain, old)

    def _draft(self, _one: Asset) -> None:
        """Make a folder that nothing gets into, or delete it."""
        drafts = f"{_ROOT}/drafts"
        if any(folder["path"] == drafts for folder in self._account.all_folders()):
            self._account.delete_folder(drafts)
        else:
            self._account.create_folder(drafts)

    # With what

    def _images(self, *, alive: bool) -> list[Asset]:
        """Read the images that there are, or those that are deleted and can be restored; oldest first."""
        rows = self._account.store.connection.execute(
            "SELECT * FROM assets WHERE resource_type = 'image' AND type = 'upload' AND alive = :alive"
            " AND public_id > :root || '/' AND public_id < :root || '0' ORDER BY seq",
            {"alive": alive, "root": _ROOT},
        )
        return [Asset.from_row(row) for row in rows]

    def _forget(self, deleted: Asset) -> None:
        """Backups don't last for ever, and nothing tells of their end."""
        with self._account.store.transaction():
            self._account.erase(deleted)

    def _folder(self) -> str:
        return f"{_ROOT}/{self._random.choice(_FOLDERS)}"

    def _hour(self) -> float:
        return self._random.uniform(4, 22)
