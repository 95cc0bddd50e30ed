"""What is asked for on our side happens at Cloudinary once, or ends with a reason."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from cloudinary import api, uploader
from prometheus_client import CollectorRegistry

from schemas.asset import AssetName
from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account, accounts
from service.cloudinary.errors import BadRequestError, CredentialsError, UnavailableError
from service.database import Pool
from service.publisher import NotDurableError, Publisher
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics
from service.writeback.effects import context_of
from service.writeback.operations import Kind, Origin, Request, Status
from service.writeback.store import OperationStore, cancel, enqueue
from service.writeback.uploads import MARK
from service.writeback.writeback import Writeback
from standin.server import Options, Standin, run_standin
from tests.bodies import ASSET, CLOUD, KEY, SECRET, delete, upload
from tests.integration.conftest import Mirrored, eventually
from tests.integration.reconciling import FEW_CALLS

PICTURE = (
    "data:image/png;base64,"
    + base64.b64encode(
        base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
    ).decode()
)
PUBLIC_IDS = [f"p/{number}" for number in range(8)]


@dataclass
class Desk:
    """A write-back and the account it writes to."""

    settings: Settings
    pool: Pool
    standin: Standin
    account: Account
    publisher: Publisher
    told: list[dict[str, Any]] = field(default_factory=list)  # by the stand-in: each effect once

    def writeback(self, **changes: Any) -> Writeback:
        settings = self.settings.model_copy(update=changes)
        return Writeback(settings, self.pool, {CLOUD: self.account}, self.publisher, Metrics(CollectorRegistry()))

    async def ask(self, *requests: Request, origin: Origin = Origin.CLI) -> list[int]:
        return await enqueue(self.pool, requests, origin)

    async def worked_off(self) -> dict[int, asyncpg.Record]:
        """Work until nothing is due any more; gives all operations."""
        writeback = self.writeback()

        async def is_idle() -> bool:
            await writeback.process(100)
            return not await self.pool.fetchval("SELECT count(*) FROM media_operations WHERE status IN ('pending', 'processing')")

        await eventually(is_idle, seconds=20)
        return await self.operations()

    async def operations(self) -> dict[int, asyncpg.Record]:
        return {row["id"]: row for row in await self.pool.fetch("SELECT * FROM media_operations ORDER BY id")}

    def assets(self) -> dict[str, dict[str, Any]]:
        """What there is, by public id."""
        return {one["public_id"]: one for one in self.standin.account.resources()}

    def effects(self) -> Counter[str]:
        return Counter(one["notification_type"] for one in self.told)


@asynccontextmanager
async def desk_with(settings: Settings, pool: Pool, **more: Any) -> AsyncIterator[Desk]:
    given: dict[str, Any] = {"retry_unit": 0.01, "metadata_fields": {"sku": "string"}, "dialect": FEW_CALLS}
    options = Options(cloud=CLOUD, key=KEY, secret=SECRET.decode(), **(given | more))
    async with run_standin(options) as standin:
        cloud = settings.clouds[CLOUD].model_copy(update={"upload_prefix": standin.url})
        settings = settings.model_copy(
            update={
                "clouds": {CLOUD: cloud},
                "operations_backoff": 0.01,
                "operations_lease": 0.3,
                "cleanup_delay": 0,
                "cloudinary_timeout": 5,
            }
        )
        async with accounts(settings, pool) as opened, Publisher(settings, Metrics(CollectorRegistry())) as publisher:
            yield Desk(settings, pool, standin, opened[CLOUD], publisher)


@pytest.fixture
async def desk(settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with desk_with(settings, pool) as desk:
        for public_id in PUBLIC_IDS:
            desk.standin.account.upload(b"", public_id=public_id, resource_type="raw", tags=["old"], context={"alt": "before"})
        send = desk.standin.notifier.send

        def listen(notification: dict[str, Any], **more: Any) -> None:
            desk.told.append(notification)
            send(notification, **more)

        monkeypatch.setattr(desk.standin.notifier, "send", listen)
        yield desk


def request(desk: Desk, public_id: str, kind: Kind, expected: int | None = None, **arguments: Any) -> Request:
    asset = desk.assets()[public_id]
    name = AssetName(asset["resource_type"], asset["type"], public_id)
    return Request(CLOUD, kind, arguments, asset["asset_id"], name, expected)


def one_of_each(desk: Desk) -> list[Request]:
    what: list[tuple[Kind, dict[str, Any]]] = [
        (Kind.DESTROY, {}),
        (Kind.RENAME, {"to": "q/1"}),
        (Kind.TAGS, {"add": ["new"], "remove": ["old"]}),
        (Kind.CONTEXT, {"set": {"alt": "after = |this|", "by": "us"}, "remove": []}),
        (Kind.METADATA, {"set": {"sku": "7"}}),
        (Kind.DISPLAY_NAME, {"to": "A name"}),
        (Kind.FOLDER, {"to": "shelf"}),
        (Kind.ACCESS, {"to": [{"access_type": "token"}]}),
    ]
    return [request(desk, public_id, kind, **arguments) for public_id, (kind, arguments) in zip(PUBLIC_IDS, what, strict=True)]


def assert_all_done(desk: Desk) -> None:
    assets = desk.assets()
    assert "p/0" not in assets
    assert "p/1" not in assets
    assert "q/1" in assets
    assert assets["p/2"]["tags"] == ["new"]
    assert context_of(assets["p/3"]) == {"alt": "after = |this|", "by": "us"}
    assert assets["p/4"]["metadata"] == {"sku": "7"}
    assert assets["p/5"]["display_name"] == "A name"
    assert assets["p/6"]["asset_folder"] == "shelf"
    assert [rule["access_type"] for rule in assets["p/7"]["access_control"]] == ["token"]


ONCE_EACH = Counter(
    {
        "delete": 1,
        "rename": 1,
        "resource_tags_changed": 2,  # one call adds, one removes
        "resource_context_changed": 1,
        "resource_metadata_changed": 1,
        "resource_display_name_changed": 1,
        "move": 1,
        "access_control_changed": 1,
    }
)


def writes(order: str, *arguments: Any, times: int = 9, **more: Any) -> Callable[[Standin], None]:
    """Order a fault of calls that have an effect."""

    def give(standin: Standin) -> None:
        # when a connection breaks, the SDK makes a DELETE, unlike a POST, three times more by itself
        for match, number in (("POST *", times), ("DELETE *", min(times, 4))):
            getattr(standin.faults, order)(match, *arguments, times=number, **more)

    return give


FAULTS: dict[str, Callable[[Standin], None]] = {
    "nothing": lambda _: None,
    "500": writes("fail", 500),
    "423": writes("fail", 423),
    "502": writes("fail", 502),
    "420": writes("fail", 420, times=3, resets_in=0),
    "a connection that ends after the effect": writes("time_out_after_effect"),
    "an answer that breaks off": writes("break_off"),
    "an answer that is no JSON": writes("answer", "<html>"),
    "refused connections": writes("refuse"),
    "readings that fail": lambda standin: standin.faults.fail("GET *", 500, times=5),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_operation_takes_effect_exactly_once_despite(desk: Desk, fault: str) -> None:
    await desk.ask(*one_of_each(desk))
    FAULTS[fault](desk.standin)
    rows = await desk.worked_off()
    assert {row["status"] for row in rows.values()} == {"completed"}, [row["error"] for row in rows.values()]
    assert_all_done(desk)
    assert desk.effects() == ONCE_EACH
    assert all(row["started_at"] is not None and row["attempts"] <= 5 for row in rows.values())


async def test_each_operation_takes_effect_once_when_workers_crash_before_they_write_it_down(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.ask(*one_of_each(desk))
    crashes = iter(range(3))

    def crashing(settle: Callable[..., Any]) -> Callable[..., Any]:
        async def crash(*arguments: Any, **more: Any) -> Any:
            if next(crashes, None) is not None:
                raise RuntimeError("killed")
            return await settle(*arguments, **more)

        return crash

    for name in ("complete", "complete_all"):
        monkeypatch.setattr(OperationStore, name, crashing(getattr(OperationStore, name)))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="killed"):
            await desk.writeback().process(100)
        await asyncio.sleep(0.35)  # the lease
    rows = await desk.worked_off()
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert_all_done(desk)
    assert desk.effects() == ONCE_EACH


async def test_what_crashes_every_worker_fails_in_the_end(desk: Desk) -> None:
    (id_,) = await desk.ask(request(desk, "p/1", Kind.RENAME, to="x"))
    await desk.pool.execute("UPDATE media_operations SET attempts = 5")
    row = (await desk.worked_off())[id_]
    assert (row["status"], row["error"]) == ("failed", "given up: 5 workers have crashed over it")
    assert desk.effects() == Counter()


async def test_what_never_works_fails_with_its_reason_after_five_tries(desk: Desk) -> None:
    ids = await desk.ask(request(desk, "p/0", Kind.DESTROY), request(desk, "p/1", Kind.RENAME, to="x"))
    for match in ("POST *", "DELETE *"):
        desk.standin.faults.fail(match, 500, times=None, message="out of order")
    rows = await desk.worked_off()
    for id_ in ids:
        assert (rows[id_]["status"], rows[id_]["attempts"]) == ("failed", 5)
        assert "given up after 5 tries" in rows[id_]["error"]
        assert "out of order" in rows[id_]["error"]
    assert desk.effects() == Counter()
    desk.standin.faults.clear()
    await desk.pool.fetch(query("operations", "retry"), ids[:1], None)
    assert (await desk.worked_off())[ids[0]]["status"] == "completed"


async def test_a_conflict_names_both_versions_and_changes_nothing(desk: Desk) -> None:
    version = desk.assets()["p/0"]["version"]
    stale, fresh = await desk.ask(
        request(desk, "p/0", Kind.DESTROY, expected=version - 7), request(desk, "p/1", Kind.DESTROY, expected=version)
    )
    rows = await desk.worked_off()
    assert rows[fresh]["status"] == "completed"
    assert rows[stale]["status"] == "failed"
    assert str(version) in rows[stale]["error"]
    assert str(version - 7) in rows[stale]["error"]
    assert "p/0" in desk.assets()


async def test_what_is_not_there_is_destroyed_already_and_nothing_else_can_be_done_to_it(desk: Desk) -> None:
    gone = request(desk, "p/0", Kind.DESTROY)
    renamed = request(desk, "p/0", Kind.RENAME, to="x")
    desk.standin.account.destroy("p/0", resource_type="raw")
    destroyed, failed = await desk.ask(gone, renamed)
    rows = await desk.worked_off()
    assert rows[destroyed]["status"] == "completed"
    assert (rows[failed]["status"], rows[failed]["error"]) == ("failed", "there is no such asset at Cloudinary (any more)")


async def test_a_name_that_is_taken_is_left_to_whoever_has_it(desk: Desk) -> None:
    (id_,) = await desk.ask(request(desk, "p/0", Kind.RENAME, to="p/1"))
    row = (await desk.worked_off())[id_]
    assert (row["status"], row["error"]) == ("failed", "another asset is called p/1 already; nothing was renamed")
    assert {"p/0", "p/1"} <= desk.assets().keys()


async def test_operations_of_an_asset_are_done_in_order_under_whatever_it_is_called_by_then(desk: Desk) -> None:
    await desk.ask(
        *(request(desk, "p/0", Kind.RENAME, to=f"r/{number}") for number in range(3)),
        request(desk, "p/0", Kind.TAGS, set=["a"]),
        request(desk, "p/0", Kind.TAGS, set=[]),
        request(desk, "p/0", Kind.DISPLAY_NAME, to="last"),
    )
    desk.standin.faults.fail("POST *", 500, times=2)
    desk.standin.faults.time_out_after_effect("POST *", times=2)
    rows = await desk.worked_off()
    assert {row["status"] for row in rows.values()} == {"completed"}
    asset = desk.assets()["r/2"]
    assert (asset.get("tags", []), asset["display_name"]) == ([], "last")
    assert [one["to_public_id"] for one in desk.told if one["notification_type"] == "rename"] == ["r/0", "r/1", "r/2"]
    ended = [row["completed_at"] for row in rows.values()]
    assert ended == sorted(ended)


async def test_many_are_done_by_few_calls(desk: Desk) -> None:
    desk.standin.calls.clear()
    await desk.ask(*(request(desk, name, Kind.TAGS, add=["x"]) for name in PUBLIC_IDS))
    await desk.worked_off()
    assert sum(desk.standin.calls.values()) == 2, desk.standin.calls
    assert all("x" in one["tags"] for one in desk.assets().values())
    await desk.ask(*(request(desk, name, Kind.DESTROY) for name in PUBLIC_IDS))
    desk.standin.faults.time_out_after_effect("DELETE *")
    rows = await desk.worked_off()
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert desk.assets() == {}
    assert sum(desk.standin.calls.values()) == 5, desk.standin.calls  # it was looked again, and that was all


async def test_one_that_is_refused_does_not_take_its_group_with_it(desk: Desk) -> None:
    await desk.ask(*(request(desk, name, Kind.TAGS, add=["x"]) for name in PUBLIC_IDS))
    desk.standin.faults.fail("POST */tags", 400, times=2, message="no such tag here")
    rows = await desk.worked_off()
    assert Counter(row["status"] for row in rows.values()) == {"completed": 7, "failed": 1}
    (error,) = (row["error"] for row in rows.values() if row["error"])
    assert "no such tag here" in error


async def test_one_that_can_t_be_read_does_not_take_its_batch_with_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Account.call

    async def refuse(self: Account, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if function is api.resources_by_asset_ids and "strange" in arguments[0]:
            raise BadRequestError(said="no such id", status=400)
        return await call(self, function, *arguments, **more)

    monkeypatch.setattr(Account, "call", refuse)
    *_, strange = await desk.ask(
        *(request(desk, name, Kind.TAGS, add=["x"]) for name in PUBLIC_IDS), Request(CLOUD, Kind.DESTROY, {}, "strange")
    )
    rows = await desk.worked_off()
    assert {id_ for id_, row in rows.items() if row["status"] == "failed"} == {strange}
    assert "no such id" in rows[strange]["error"]


def meanwhile(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], act: Callable[[], object]) -> None:
    """Do something just before the first call of a function: after it was looked what there is."""
    call = Account.call
    acts = iter([act])

    async def after_that(self: Account, called: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if called is function and (first := next(acts, None)):
            first()
        return await call(self, called, *arguments, **more)

    monkeypatch.setattr(Account, "call", after_that)


async def test_an_asset_renamed_at_the_last_moment_is_destroyed_and_not_what_took_its_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap() -> None:
        desk.standin.account.rename("p/0", "moved", resource_type="raw")
        desk.standin.account.upload(b"another", public_id="p/0", resource_type="raw")

    (id_,) = await desk.ask(request(desk, "p/0", Kind.DESTROY))
    for function in (api.delete_resources_by_asset_ids, uploader.destroy):
        meanwhile(monkeypatch, function, swap)
    assert (await desk.worked_off())[id_]["status"] == "completed"
    assert "moved" not in desk.assets()
    assert "p/0" in desk.assets()


@pytest.mark.parametrize("others", [0, 1])
async def test_an_asset_renamed_at_the_last_moment_has_the_effect_under_its_new_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    tagged = await desk.ask(*(request(desk, name, Kind.TAGS, add=["x"]) for name in PUBLIC_IDS[: 1 + others]))
    named = await desk.ask(request(desk, "p/7", Kind.DISPLAY_NAME, to="A name"))
    meanwhile(monkeypatch, uploader.add_tag, lambda: desk.standin.account.rename("p/0", "moved", resource_type="raw"))
    meanwhile(monkeypatch, uploader.explicit, lambda: desk.standin.account.rename("p/7", "too", resource_type="raw"))
    rows = await desk.worked_off()
    assert {rows[id_]["status"] for id_ in (*tagged, *named)} == {"completed"}
    assert "x" in desk.assets()["moved"]["tags"]
    assert desk.assets()["too"]["display_name"] == "A name"


async def test_a_rename_whose_effect_comes_late_is_completed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = await desk.ask(request(desk, "p/0", Kind.RENAME, to="x"))
    meanwhile(monkeypatch, uploader.rename, lambda: desk.standin.account.rename("p/0", "x", resource_type="raw"))
    row = (await desk.worked_off())[id_]
    assert (row["status"], desk.effects()) == ("completed", Counter(rename=1))


async def test_one_that_is_retried_waits_for_the_later_one_that_is_under_way(desk: Desk) -> None:
    early, late = await desk.ask(request(desk, "p/0", Kind.TAGS, set=["a"]), request(desk, "p/0", Kind.TAGS, set=["b"]))
    await desk.pool.execute(
        "UPDATE media_operations SET status = 'failed', error = 'x', completed_at = now() WHERE id = $1", early
    )
    store = OperationStore(desk.settings, desk.pool)
    assert [one.id for one in await store.claim(CLOUD, 10, uploads=False)] == [late]
    await desk.pool.fetch(query("operations", "retry"), [early], None)
    assert await store.claim(CLOUD, 10, uploads=False) == []


async def test_what_was_completed_long_ago_is_removed_and_what_failed_is_kept(desk: Desk) -> None:
    old, young, failed = await desk.ask(
        *(
            request(desk, public_id, Kind.DESTROY, expected=expected)
            for public_id, expected in (("p/0", None), ("p/1", None), ("p/2", 7))
        )
    )
    await desk.worked_off()
    await desk.pool.execute(
        "UPDATE media_operations SET completed_at = now() - interval '31 days' WHERE id = ANY ($1)", [old, failed]
    )
    working = asyncio.create_task(desk.writeback().run())

    async def is_removed() -> bool:
        return old not in await desk.operations()

    try:
        await eventually(is_removed)
    finally:
        working.cancel()
        await asyncio.wait([working])
    assert (await desk.operations()).keys() == {young, failed}


async def test_two_workers_share_the_work_and_do_nothing_twice(desk: Desk) -> None:
    await desk.ask(*one_of_each(desk), *(request(desk, "p/3", Kind.TAGS, set=[str(number)]) for number in range(5)))
    tasks = [asyncio.create_task(desk.writeback(cleanup_delay=0).run()) for _ in range(3)]

    async def all_done() -> bool:
        return {row["status"] for row in (await desk.operations()).values()} == {"completed"}

    try:
        await eventually(all_done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert_all_done(desk)
    assert desk.effects() == ONCE_EACH + Counter(resource_tags_changed=5)


async def test_a_call_that_takes_longer_than_the_lease_is_not_made_twice(desk: Desk) -> None:
    await desk.ask(request(desk, "p/0", Kind.RENAME, to="x"))
    desk.standin.faults.slow("POST */rename", 2.5)
    first = asyncio.create_task(desk.writeback(operations_lease=1).process(100))

    async def is_claimed() -> bool:
        return bool(await desk.pool.fetchval("SELECT true FROM media_operations WHERE claims = 1"))

    await eventually(is_claimed)
    while not first.done():  # more than twice the lease
        assert await desk.writeback(operations_lease=1).process(100) == []
        await asyncio.sleep(0.05)
    assert [one.status for one in await first] == [Status.COMPLETED]
    ((claims,),) = await desk.pool.fetch("SELECT claims FROM media_operations")
    assert (claims, desk.effects()) == (1, Counter(rename=1))


async def test_refused_credentials_stop_everything_and_cost_no_try(desk: Desk) -> None:
    (id_,) = await desk.ask(request(desk, "p/0", Kind.DESTROY))
    desk.standin.faults.fail("*", 401, times=1)
    with pytest.raises(CredentialsError):
        await desk.writeback().process(100)
    row = (await desk.operations())[id_]
    assert (row["status"], row["attempts"]) == ("pending", 0)
    assert (await desk.worked_off())[id_]["status"] == "completed"


# Deletions by SQL


async def row_of(desk: Desk, public_id: str) -> str:
    """Put an asset's row in the mirror by hand; gives its id."""
    asset = desk.assets()[public_id]
    await desk.pool.execute(
        "INSERT INTO media_assets (cloud, asset_id, public_id, resource_type, type, version, clocks, revision)"
        " VALUES ($1, $2, $3, $4, $5, $6, '{}', 3)",
        CLOUD, asset["asset_id"], public_id, asset["resource_type"], asset["type"], asset["version"],
    )  # fmt: skip
    return str(asset["asset_id"])


async def test_rows_deleted_by_sql_take_their_files_with_them(desk: Desk) -> None:
    for public_id in PUBLIC_IDS:
        await row_of(desk, public_id)
    await desk.pool.execute("UPDATE media_assets SET deleted_at = now() WHERE public_id = 'p/7'")
    await desk.pool.execute("DELETE FROM media_assets WHERE public_id LIKE 'p/%' AND public_id <> 'p/6'")
    rows = await desk.worked_off()
    assert {(row["kind"], row["origin"], row["status"]) for row in rows.values()} == {("destroy", "sql", "completed")}
    assert set(desk.assets()) == {"p/6", "p/7"}, "the row of a deleted asset had nothing to do with the one there is"
    assert await desk.pool.fetchval("SELECT count(*) FROM media_outbox WHERE type = 'media.asset.purged' AND revision = 4") == 7


async def test_a_deletion_waits_as_long_as_it_can_be_cancelled_and_then_the_row_is_asked_for(desk: Desk) -> None:
    saved, lost = await row_of(desk, "p/0"), await row_of(desk, "p/1")
    await desk.pool.execute("DELETE FROM media_assets")
    patient = desk.writeback(cleanup_delay=3600)
    assert await patient.process(100) == []
    assert [row["asset_id"] for row in await cancel(desk.pool, None, saved)] == [saved]
    rows = await desk.worked_off()
    assert {row["asset_id"]: row["status"] for row in rows.values()} == {saved: "cancelled", lost: "completed"}
    assert "p/0" in desk.assets()
    assert "p/1" not in desk.assets()
    asked = await desk.pool.fetch("SELECT asset_id, reasons FROM media_refetch")
    assert [tuple(row) for row in asked] == [(saved, ["its deletion was cancelled"])]
    assert list(await cancel(desk.pool, None, lost)) == [], "what is done can't be cancelled"


async def test_a_row_whose_file_could_not_be_deleted_is_asked_for(desk: Desk) -> None:
    asset_id = await row_of(desk, "p/0")
    await desk.pool.execute("UPDATE media_assets SET version = 7")
    await desk.pool.execute("DELETE FROM media_assets")
    (row,) = (await desk.worked_off()).values()
    assert (row["status"], "conflict" in row["error"]) == ("failed", True)
    assert "p/0" in desk.assets()
    asked = await desk.pool.fetch("SELECT asset_id, reasons FROM media_refetch")
    assert [tuple(one) for one in asked] == [(asset_id, ["its deletion failed"])]


async def test_what_the_mirror_removes_itself_is_not_destroyed(desk: Desk) -> None:
    id_ = await row_of(desk, "p/0")
    for name in (("mirror", "remove_adopted"), ("scratch", "remove_rows")):
        await desk.pool.execute(query(*name), [CLOUD], [id_])
        assert await desk.operations() == {}
        assert await desk.pool.fetchval("SELECT count(*) FROM media_assets") == 0
        await row_of(desk, "p/0")
    with pytest.raises(asyncpg.RaiseError, match="can't be truncated"):
        await desk.pool.execute("TRUNCATE media_assets")
    await desk.pool.execute("DELETE FROM media_assets")
    assert len(await desk.operations()) == 1, "the mirror's word holds for its own transaction only"


async def test_a_deletion_that_is_rolled_back_is_none(desk: Desk) -> None:
    await row_of(desk, "p/0")
    async with desk.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DELETE FROM media_assets")
        await transaction.rollback()
    assert await desk.operations() == {}
    assert await desk.pool.fetchval("SELECT (SELECT count(*) FROM media_purged) + (SELECT count(*) FROM media_outbox)") == 0


async def test_whoever_may_delete_rows_needs_no_other_right_and_nobody_else_can_have_files_destroyed(
    desk: Desk, administrator: str
) -> None:
    await row_of(desk, "p/0")
    async with asyncpg.create_pool(administrator, min_size=1) as server, server.acquire() as connection, connection.transaction():
        # roles are the server's, and end with this transaction
        await connection.execute("CREATE ROLE mediamirror_test_clerk")
        await connection.execute("GRANT SELECT, DELETE ON media_assets TO mediamirror_test_clerk")
        await connection.execute("SET LOCAL ROLE mediamirror_test_clerk")
        await connection.execute("CREATE TEMP TABLE bait (LIKE media_assets)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="media_assets_deleted"):
            async with connection.transaction():
                await connection.execute(
                    "CREATE TRIGGER mine AFTER DELETE ON bait REFERENCING OLD TABLE AS deleted"
                    " FOR EACH STATEMENT EXECUTE FUNCTION media_assets_deleted()"
                )
        await connection.execute("CREATE TEMP TABLE media_operations (id integer)")
        await connection.execute("SET LOCAL search_path = pg_temp, public")
        await connection.execute("DELETE FROM media_assets")
        await connection.execute("RESET ROLE")
        assert await connection.fetchval("SELECT count(*) FROM public.media_operations") == 1
        await connection.execute("DROP TABLE bait, pg_temp.media_operations")
        await connection.execute("DROP OWNED BY mediamirror_test_clerk")
        await connection.execute("DROP ROLE mediamirror_test_clerk")


async def test_a_deletion_takes_open_questions_with_it(desk: Desk) -> None:
    id_ = await row_of(desk, "p/0")
    await desk.pool.execute(query("mirror", "ask"), [CLOUD, CLOUD], [id_, "another"], ["why"] * 2)
    await desk.pool.execute("DELETE FROM media_assets")
    assert [row["asset_id"] for row in await desk.pool.fetch("SELECT * FROM media_refetch")] == ["another"]


async def test_a_row_that_comes_back_goes_on_with_its_revisions(mirrored: Mirrored) -> None:
    for at in (1, 2, 3):
        assert await mirrored.post(upload(at=at, tags=[str(at)])) == 200
        await mirrored.caught_up()
    await mirrored.pool.execute("DELETE FROM media_assets")
    assert await mirrored.post(delete(at=9)) == 200
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert row["asset_id"] == ASSET
    assert row["deleted_at"] is not None
    ids = [event["event_id"] for event in await mirrored.pool.fetch("SELECT event_id FROM media_outbox ORDER BY id")]
    assert ids == [f"{CLOUD}/{ASSET}/{revision}" for revision in range(1, 6)]
    assert row["revision"] == 5
    assert await mirrored.pool.fetchval("SELECT count(*) FROM media_purged") == 0


# Uploads


def new(public_id: str = "new", **options: Any) -> Request:
    arguments = {"url": PICTURE, "token": "t" * 32, "options": options}
    return Request(CLOUD, Kind.UPLOAD, arguments, name=AssetName("image", "upload", public_id))


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_upload_is_there_once_despite(desk: Desk, fault: str) -> None:
    (id_,) = await desk.ask(new(tags=["a"], asset_folder="f"))
    desk.settings = desk.settings.model_copy(update={"operations_attempts": 12, "operations_backoff": 0.002})
    FAULTS[fault](desk.standin)
    row = (await desk.worked_off())[id_]
    assert row["status"] == "completed", row["error"]
    asset = desk.assets()["new"]
    assert (asset["asset_id"], asset["tags"], asset["asset_folder"]) == (row["asset_id"], ["a"], "f")
    assert desk.effects()["upload"] == 1
    assert row["result"]["digest"]


async def test_an_upload_whose_worker_crashed_before_it_was_announced_is_taken_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce = Announcer.announce
    crashes = iter(range(2))

    async def crash(self: Announcer, *arguments: Any) -> str:
        if next(crashes, None) is not None:
            raise RuntimeError("killed")
        return await announce(self, *arguments)

    monkeypatch.setattr(Announcer, "announce", crash)
    (id_,) = await desk.ask(new())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            await desk.writeback().process(100)
        await asyncio.sleep(0.35)  # the lease
    row = (await desk.worked_off())[id_]
    assert (row["status"], row["asset_id"]) == ("completed", desk.assets()["new"]["asset_id"])
    assert desk.effects()["upload"] == 1


async def test_an_upload_whose_webhook_was_faster_stays_whatever_kafka_does_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        if not await desk.pool.fetchval("SELECT count(*) FROM media_assets"):
            await row_of(desk, "new")
        raise NotDurableError("no_ack_in_time")

    monkeypatch.setattr(desk.publisher, "publish", refuse)
    (id_,) = await desk.ask(new())
    assert (await desk.worked_off())[id_]["status"] == "completed"
    assert "new" in desk.assets()


async def test_an_upload_that_lies_there_already_is_left_alone(desk: Desk) -> None:
    desk.standin.account.upload(None, public_id="new", resource_type="image")
    (id_,) = await desk.ask(new())
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "an asset image/upload/new exists already" in row["error"]
    assert MARK not in context_of(desk.assets()["new"])


async def test_an_upload_whose_effect_comes_late_leaves_no_orphan_when_it_is_refused_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Account.call
    tries = iter((UnavailableError(said="timed out", effect_unknown=True), BadRequestError(said="the URL is gone", status=400)))

    async def late(self: Account, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if function is uploader.upload:
            error = next(tries)
            if isinstance(error, BadRequestError):
                await call(self, function, *arguments, **more)  # of the first try
            raise error
        return await call(self, function, *arguments, **more)

    monkeypatch.setattr(Account, "call", late)
    (id_,) = await desk.ask(new())
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "the URL is gone" in row["error"]
    assert "new" not in desk.assets()


async def test_an_upload_that_kafka_does_not_take_is_destroyed_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise NotDurableError("no_ack_in_time")

    monkeypatch.setattr(desk.publisher, "publish", refuse)
    (id_,) = await desk.ask(new())
    desk.standin.faults.fail("DELETE *", 500, times=2)
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "no_ack_in_time" in row["error"]
    assert "what was uploaded was destroyed again" in row["error"]
    assert "new" not in desk.assets()
    assert set(PUBLIC_IDS) <= desk.assets().keys()


async def test_an_upload_of_which_nothing_is_known_leaves_no_orphan(desk: Desk) -> None:
    (id_,) = await desk.ask(new())
    desk.settings = desk.settings.model_copy(update={"operations_attempts": 1})
    desk.standin.faults.time_out_after_effect("POST *", times=None)
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "destroyed again" in row["error"]
    assert "new" not in desk.assets()


async def test_what_somebody_else_has_put_in_its_place_is_not_destroyed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def overwritten(*_: object) -> None:
        desk.standin.account.upload(None, public_id="new", resource_type="image", overwrite=True, context={})
        raise NotDurableError("no_ack_in_time")

    monkeypatch.setattr(desk.publisher, "publish", overwritten)
    (id_,) = await desk.ask(new())
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "new" in desk.assets()


async def test_an_upload_that_the_mirror_could_not_apply_is_undone(desk: Desk) -> None:
    (id_,) = await desk.ask(new())
    row = (await desk.worked_off())[id_]
    assert row["status"] == "completed"
    await desk.pool.execute("SELECT media_sync_log_prepare(1)")
    await desk.pool.execute(
        "INSERT INTO media_sync_log (outcome, reason, digest, kafka_topic, kafka_partition, kafka_offset, ordinal)"
        " VALUES ('failed', 'a bug', $1, 't', 0, 0, 0)",
        row["result"]["digest"],
    )
    await desk.writeback().process(1)
    row = (await desk.worked_off())[id_]
    assert row["status"] == "failed"
    assert "a bug; what was uploaded was destroyed again" in row["error"]
    assert "new" not in desk.assets()


# All of it


async def test_own_writes_come_back_as_notifications_and_are_confirmed(mirrored: Mirrored) -> None:
    async with desk_with(mirrored.settings, mirrored.pool) as desk:
        hook = f"{mirrored.gateway}/webhooks/cloudinary/{CLOUD}"
        desk.standin.notifier.triggers.create(hook, "all")
        for public_id in PUBLIC_IDS:
            desk.standin.account.upload(b"x", public_id=public_id, resource_type="raw", tags=["old"])

        async def all_mirrored() -> bool:
            return len(await mirrored.rows()) == len(PUBLIC_IDS)

        await eventually(all_mirrored)
        task = asyncio.create_task(desk.writeback().run())
        try:
            await desk.ask(*one_of_each(desk)[1:], new())
            await mirrored.pool.execute("DELETE FROM media_assets WHERE public_id = 'p/0'")

            async def all_confirmed() -> bool:
                return all(row["confirmed_at"] for row in (await desk.operations()).values())

            await eventually(all_confirmed)
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert_all_done(desk)
        rows = {row["public_id"]: row for row in await mirrored.rows()}
        assert rows["p/0"]["deleted_at"] is not None
        assert rows["p/0"]["revision"] == 3, "created, purged, deleted"
        assert rows["new"]["deleted_at"] is None
        assert rows["q/1"]["deleted_at"] is None
        statuses: Sequence[str] = [row["status"] for row in (await desk.operations()).values()]
        assert set(statuses) == {Status.COMPLETED}
