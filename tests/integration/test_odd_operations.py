"""Operations that no code of ours queues: each ends at once with its reason, and holds up nobody."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.settings import Settings
from service.writeback.operations import Kind
from service.writeback.uploads import MARK
from standin.dialect import Dialect
from tests.bodies import CLOUD
from tests.integration.conftest import eventually
from tests.integration.test_writeback import PICTURE, Desk, desk_with, new, request

INSERT = """
INSERT INTO media_operations (cloud, asset_id, kind, arguments, public_id, resource_type, type, origin, attempts, claims, result)
VALUES ($1, $2, $3, $4, $5, 'raw', 'upload', 'api', $6, $7, $8) RETURNING id"""


@pytest.fixture
async def desk(settings: Settings, pool: Pool) -> AsyncIterator[Desk]:
    async with desk_with(settings, pool, dialect=Dialect()) as desk:
        desk.settings = desk.settings.model_copy(update={"operations_lease": 300})
        for number in range(4):
            desk.standin.account.upload(b"x", public_id=f"p/{number}", resource_type="raw", tags=["old"])
        yield desk


async def insert(
    desk: Desk, kind: str, arguments: Any, asset_id: str | None = None, *, attempts: int = 0, claims: int = 0, result: Any = None
) -> int:
    """As a client of the database would."""
    name = f"odd/{orjson.dumps(arguments).decode()[:40]}" if kind == "upload" else None
    raw = orjson.dumps(arguments), orjson.dumps({} if result is None else result)
    return int(await desk.pool.fetchval(INSERT, CLOUD, asset_id, kind, raw[0], name, attempts, claims, raw[1]))


def upload(url: object = "https://example.com/x.png", **more: Any) -> dict[str, Any]:
    return {"url": url, "token": "t", **more}


async def test_no_odd_operation_is_tried_twice_or_holds_up_the_others(desk: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("what nobody is to read")
    assets = desk.assets()
    ids = [assets[f"p/{number}"]["asset_id"] for number in range(4)]
    uploads: list[Any] = [
        upload(str(secret)), upload(f"file://{secret}"), upload(f" {secret}"), upload("/does/not/exist"), upload(None),
        upload(["name", str(secret)]), upload(f"data:{secret}"), upload(options=["a"]), upload(options={"context": "a"}),
        upload(options={"public_id": "y"}), upload(options={"upload_prefix": "http://127.0.0.1:9"}), {"token": "x"},
        upload(options={"notification_url": "http://127.0.0.1:9"}), {"url": "https://example.com/x.png"},
        [], "x", 7, None,
    ]  # fmt: skip
    odd = [
        *[
            await insert(desk, "upload", arguments)
            for arguments in uploads
        ],
        *[
            await insert(desk, kind, arguments, ids[0])
            for kind, arguments in (
                ("rename", {"to": ["b"]}), ("tags", {"add": "x"}), ("context", {"set": {"a": {"b": 1}}}),
                ("metadata", {"set": 7}),
                ("display_name", {}), ("folder", {"to": None}), ("access", {"to": "token"}), ("destroy", {"keep": True}),
                ("tags", None), ("rename", "b"), ("tags", []),
            )
        ],
        await insert(desk, "destroy", {}, "weird/upload/x"),
        await insert(desk, "tags", {"add": ["x"]}, "image/../x"),
        await insert(desk, "rename", {"to": "b"}, "not an id & more"),
    ]  # fmt: skip
    good = await desk.ask(new(), request(desk, "p/1", Kind.TAGS, add=["new"]), request(desk, "p/2", Kind.DESTROY))
    extreme = await insert(desk, "tags", {"add": ["more"]}, ids[3], claims=2**31 - 1, result=["no", "object"])
    spent = await insert(desk, "upload", upload(), attempts=2**31 - 1, result=7)
    rows = await desk.worked_off()
    for id_ in odd:
        row = rows[id_]
        assert (row["status"], row["attempts"]) == ("failed", 1), dict(row)
        assert row["error"]
    assert {rows[id_]["status"] for id_ in (*good, extreme)} == {"completed"}
    assert rows[spent]["status"] == "failed"
    assert {"p/0", "p/1", "p/3", "new"} == desk.assets().keys()
    contents = desk.standin.account.store.connection.execute("SELECT bytes FROM contents").fetchall()
    assert all(b"nobody is to read" not in bytes(row["bytes"]) for row in contents)


async def test_no_token_is_no_proof_that_an_asset_is_ours(desk: Desk) -> None:
    victim = desk.assets()["p/0"]
    undo = {"undo": "please", "asset_id": victim["asset_id"]}
    for token in (None, "", 7):
        await insert(desk, "upload", {"url": PICTURE, "token": token}, result=undo)
    rows = await desk.worked_off()
    assert {row["status"] for row in rows.values()} == {"failed"}
    assert "p/0" in desk.assets()
    assert MARK not in str(victim)


async def test_what_the_sdk_raises_before_it_sends_is_the_operations_own_fault(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloudinary import uploader  # noqa: PLC0415

    def raising(*_: object, **__: object) -> None:
        raise FileNotFoundError("looks like an outage\0\ud800")

    for name in ("upload", "add_tag", "rename"):
        monkeypatch.setattr(uploader, name, raising)
    bad = await desk.ask(new(), request(desk, "p/0", Kind.TAGS, add=["x"]), request(desk, "p/1", Kind.RENAME, to="b"))
    good = await desk.ask(request(desk, "p/2", Kind.TAGS, set=["y"]), request(desk, "p/3", Kind.DESTROY))
    rows = await desk.worked_off()
    for id_ in bad:
        assert (rows[id_]["status"], rows[id_]["attempts"]) == ("failed", 1)
        assert "looks like an outage" in rows[id_]["error"]
    assert {rows[id_]["status"] for id_ in good} == {"completed"}


async def test_a_fault_of_ours_leaves_nothing_to_its_lease_and_the_loop_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.writeback import writer  # noqa: PLC0415

    weigh = writer._weighed

    def faulty(operation: Any, resource: Any) -> Any:
        if operation.kind is Kind.RENAME:
            raise ZeroDivisionError("a fault of ours")
        return weigh(operation, resource)

    monkeypatch.setattr(writer, "_weighed", faulty)
    (bad,) = await desk.ask(request(desk, "p/0", Kind.RENAME, to="b"))
    (good,) = await desk.ask(request(desk, "p/1", Kind.TAGS, add=["x"]))
    working = asyncio.create_task(desk.writeback().run())
    try:

        async def all_ended() -> bool:
            return {row["status"] for row in (await desk.operations()).values()} <= {"completed", "failed"}

        await eventually(all_ended, seconds=10)
        (later,) = await desk.ask(request(desk, "p/2", Kind.TAGS, add=["x"]))
        await eventually(all_ended, seconds=10)
        assert not working.done()
    finally:
        working.cancel()
        await asyncio.wait([working])
    rows = await desk.operations()
    assert [rows[id_]["status"] for id_ in (bad, good, later)] == ["failed", "completed", "completed"]
    assert "a fault of ours" in rows[bad]["error"]


@pytest.mark.parametrize("status", [401, 403])
async def test_credentials_refused_by_a_page_cost_no_try(desk: Desk, status: int) -> None:
    ids = await desk.ask(new(), request(desk, "p/1", Kind.TAGS, add=["new"]))
    desk.standin.faults.answer("*", "<html><title>401 Authorization Required</title></html>", times=None, status=status)
    working = asyncio.create_task(desk.writeback().run())
    try:

        async def both_refused() -> bool:
            return all("API key and secret" in (row["error"] or "") for row in (await desk.operations()).values())

        await eventually(both_refused, seconds=10)
    finally:
        working.cancel()
        await asyncio.wait([working])
    rows = await desk.operations()
    assert [(rows[id_]["status"], rows[id_]["attempts"]) for id_ in ids] == [("pending", 0)] * 2
    desk.standin.faults.clear()
    assert {row["status"] for row in (await desk.worked_off()).values()} == {"completed"}


@pytest.mark.parametrize("by_name", [True, False])
async def test_deletions_are_done_in_one_try_however_the_answer_names_them(settings: Settings, pool: Pool, by_name: bool) -> None:
    async with desk_with(settings, pool, dialect=Dialect(deletes_by_name=by_name)) as desk:
        for number in range(12):
            desk.standin.account.upload(public_id=f"p/{number}")
        await desk.ask(*(request(desk, f"p/{number}", Kind.DESTROY) for number in range(12)))
        rows = await desk.worked_off()
        assert {(row["status"], row["attempts"]) for row in rows.values()} == {("completed", 1)}
        assert desk.assets() == {}


async def test_a_metadata_field_that_is_not_defined_fails_with_its_reason(desk: Desk) -> None:
    unknown, known = await desk.ask(
        request(desk, "p/0", Kind.METADATA, set={"colour": "red"}), request(desk, "p/1", Kind.METADATA, set={"sku": "7"})
    )
    rows = await desk.worked_off()
    assert (rows[unknown]["status"], "colour" in rows[unknown]["error"]) == ("failed", True)
    assert rows[known]["status"] == "completed"
