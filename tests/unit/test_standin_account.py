import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from standin.account import Account
from standin.asset import Asset
from standin.errors import ApiError, BadRequestError
from standin.options import Options
from standin.store import Store
from tests.folding import MemoryMirror

FIELDS = ["public_id", "resource_type", "type", "format", "version", "version_id", "bytes", "width", "height", "duration", "etag"]
FIELDS += ["display_name", "asset_folder", "tags", "access_control", "placeholder"]


class Told:
    """Keeps the notifications that an account sends."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []

    def send(self, notification: dict[str, Any], **_: str | None) -> None:
        self.notifications.append(notification)


@contextmanager
def opened(told: Told, **options: Any) -> Iterator[Account]:
    with Store(None) as store:
        yield Account(store, Options(**options), told)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def account(told: Told) -> Iterator[Account]:
    with opened(told, metadata_fields={"f": "string", "g": "string"}) as account:
        yield account


class User:
    """Does things to an account at random, of which its notifications tell everything."""

    def __init__(self, account: Account, seed: int) -> None:
        self.account = account
        self.random = random.Random(seed)
        self.deeds: list[Callable[[dict[str, Any]], object]] = [
            lambda one: account.upload(**self.name(one), tags=self.labels()),
            lambda one: account.destroy(**self.name(one)),
            lambda one: account.rename(
                one["public_id"],
                self.public_id(),
                **self.types(one),
                to_type=self.random.choice(["upload", "private", None]),
                overwrite=self.random.random() < 0.5,
            ),
            lambda one: account.change_tags([one["public_id"], self.public_id()], "add", self.labels(), **self.types(one)),
            lambda one: account.change_tags([one["public_id"]], "remove", self.labels(), **self.types(one)),
            lambda one: account.change_context([one["public_id"]], "add", {"k": self.public_id()}, **self.types(one)),
            lambda one: account.change_context([one["public_id"]], "remove_all", {}, **self.types(one)),
            lambda one: account.change_metadata([one["public_id"]], {"f": self.public_id()}, **self.types(one)),
            lambda one: account.update(**self.name(one), display_name=self.public_id(), asset_folder=self.folder()),
            lambda one: account.update(**self.name(one), tags=self.labels(), access_control=[{"access_type": "token"}]),
            lambda _: account.upload(public_id=self.public_id(), asset_folder=self.folder(), context={"c": "1"}),
            lambda _: account.upload(public_id=self.public_id(), resource_type="video", overwrite=False),
            lambda _: account.upload(public_id=self.public_id(), resource_type="raw", metadata={"g": "1"}),
            lambda _: account.rename_folder(self.folder(), self.folder()),
            lambda _: account.create_folder(self.folder()),
        ]

    def act(self) -> None:
        living = self.account.resources() or [self.account.upload(public_id=self.public_id())]
        try:
            self.random.choice(self.deeds)(self.random.choice(living))
        except ApiError as error:
            assert error.status < 500  # noqa: PT017  # what is refused changes nothing

    def name(self, one: dict[str, Any]) -> dict[str, Any]:
        return {name: one[name] for name in ("public_id", "resource_type", "type")}

    def types(self, one: dict[str, Any]) -> dict[str, Any]:
        return {name: one[name] for name in ("resource_type", "type")}

    def public_id(self) -> str:
        return self.random.choice("abcdefghij")

    def labels(self) -> list[str]:
        return self.random.sample(["t1", "t2", "t3", "t4"], 2)

    def folder(self) -> str:
        return self.random.choice(["x", "y", "x/y", "z", "y/z"])


@pytest.mark.parametrize("seed", range(5))
def test_who_believes_every_notification_knows_the_account(seed: int, account: Account, told: Told) -> None:
    user = User(account, seed)
    for _ in range(300):
        user.act()
    random.Random(seed).shuffle(told.notifications)
    mirror = MemoryMirror()
    mirror.apply_in_batches(told.notifications, 50, signed_at=int(time.time()))

    known = {row.asset_id: row for row in mirror.rows.values() if row.deleted_at is None}
    truth = {asset["asset_id"]: asset for asset in account.resources()}
    assert known.keys() == truth.keys()
    for asset_id, asset in truth.items():
        row = known[asset_id]
        shown = {name: getattr(row, name) for name in FIELDS}
        assert shown == {name: asset.get(name, False if name == "placeholder" else None) for name in FIELDS} | {
            "tags": sorted(asset["tags"])
        }
        assert (row.context, row.metadata) == (asset.get("context", {}).get("custom", {}), asset.get("metadata", {}))
        assert row.created_at == datetime.fromisoformat(asset["created_at"])


def test_what_fails_changes_nothing(account: Account) -> None:
    account.upload(public_id="a")
    account.upload(public_id="b")
    before = account.resources()

    def delete_and_fail() -> None:
        with account.store.transaction():
            account.destroy("a")
            account.rename("b", "b")

    with pytest.raises(BadRequestError):
        delete_and_fail()
    assert account.resources() == before


def test_bytes_are_kept_as_long_as_an_asset_or_a_backup_has_them(account: Account) -> None:
    def kept() -> int:
        count: int = account.store.connection.execute("SELECT count(*) FROM contents").fetchone()[0]
        return count

    for public_id in ("a", "b"):
        account.upload(b"same", public_id=public_id, resource_type="raw")
    assert kept() == 1
    account.destroy("a", resource_type="raw")
    assert kept() == 1
    account.upload(b"other", public_id="b", resource_type="raw", backup=True)
    assert kept() == 2
    row = account.store.connection.execute("SELECT * FROM assets").fetchone()
    restored = account.restore(Asset.from_row(row))
    assert (restored["bytes"], kept()) == (4, 2)
    account.erase(account.get("b", "raw"))
    assert kept() == 0


def test_a_rejected_file_comes_back_when_it_is_approved_after_all(told: Told) -> None:
    with opened(told, backup=True) as account:
        first = account.upload(public_id="a", moderation="manual")
        account.update("a", moderation_status="rejected")
        (rejected,) = account.resources()
        account.update("a", moderation_status="approved")
        (approved,) = account.resources()

    assert (rejected["placeholder"], rejected["bytes"], approved["etag"]) == (True, 0, first["etag"])
    assert first["version"] <= rejected["version"] <= approved["version"]
    assert len({one["version_id"] for one in (first, rejected, approved)}) == 3
