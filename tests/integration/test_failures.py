"""What the mirror could not process, met again by the tools that prove and repair."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from handlers.registry import interpret
from schemas.event import asset_event
from schemas.notification import Notification
from service.database import Pool
from service.replay.replay import Replay, Selection
from service.settings import Settings
from tests.bodies import ASSET, envelope, triggered, upload
from tests.integration.conftest import Mirrored, mirrored_with
from tests.integration.test_cli import lines, run
from tests.integration.test_deadletter import letters_of, produce
from tests.integration.test_events import emptied, events_of, relaying
from tests.integration.test_rebuild import rebuilt, verified

Record = tuple[bytes | None, bytes | None, list[tuple[str, Any]]]

NOT_UNDERSTOOD, NOT_ENCODED, NOT_TOLD, OTHER = (letter * 32 for letter in "bcde")


def signed(body: dict[str, Any], **headers: bytes) -> Record:
    raw = orjson.dumps(body)
    given = dict(envelope(raw, body["notification_type"]).to_headers()) | headers
    return body.get("asset_id", "").encode(), raw, list(given.items())


FOREIGN: list[Record] = [
    (b"a", b"{}", []),
    (None, b"\xff\0", [("null", None), ("empty", b"")]),
    (b"tombstone", None, []),
    (b"tombstone", None, signed(upload(at=1))[2]),
    (b"not json", b"{'a': 1}", signed(upload(at=1))[2]),
    (b"null header", b"{}", [(name, None) for name, _ in signed(upload(at=1))[2]]),
    signed(upload("1" * 32, at=1), cloud=b"a\0c"),
    signed(upload("2" * 32, at=1), cloud=b"\xed\xa0\x80"),
    signed(upload("3" * 32, at=1), **{"notification-type": b"upload\0"}),
    signed(upload("4" * 32, at=1), **{"received-at": b"0001-01-01T00:00:00+14:00"}),
    signed({"notification_type": "create_folder", "folder_path": "p"} | triggered(1), digest=b"\0"),
]  # fmt: skip
STRANGE_BUT_FINE: list[Record] = [
    signed(upload("6" * 32, at=1), cloud=b"never-heard-of"),
    signed(upload("7" * 32, at=1), huge=b"h" * 100_000),
    signed(upload("8" * 32, at=1), **{"x-cld-timestamp": b"9" * 40}),
]


@pytest.fixture
def bugs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One in a handler, one in what PostgreSQL's client makes of a row, one in an event, each for one asset, until undone."""

    def interpreted(notification: Notification) -> Any:
        if notification.body.get("asset_id") == NOT_UNDERSTOOD:
            raise LookupError("in the handler")
        return interpret(notification)

    def encoded(value: Any) -> bytes:
        if isinstance(value, dict) and "odd" in value:
            raise TypeError("in the encoder")
        return orjson.dumps(value)

    def told(*arguments: Any) -> Any:
        if arguments[1].asset_id == NOT_TOLD:
            raise ZeroDivisionError("in the event")
        return asset_event(*arguments)

    monkeypatch.setattr("service.mirror.entry.interpret", interpreted)
    monkeypatch.setattr("service.database.orjson", SimpleNamespace(dumps=encoded, loads=orjson.loads))
    monkeypatch.setattr("service.mirror.fold.asset_event", told)
    return monkeypatch


ODD = [
    signed(upload(NOT_UNDERSTOOD, at=1)),
    signed(upload(NOT_ENCODED, at=1, context={"odd": "value"})),
    signed(upload(NOT_TOLD, at=1)),
]
GOOD = [signed(upload(ASSET, at=1)), signed(upload(OTHER, at=1))]


@pytest.fixture
async def failed(settings: Settings, pool: Pool, bugs: pytest.MonkeyPatch) -> Mirrored:
    """A mirror that has met all of them, and has stopped."""
    del bugs
    everything = [GOOD[0], *FOREIGN, *STRANGE_BUT_FINE, *ODD, GOOD[1]]
    await produce(settings, *everything)
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = len(everything)
        await mirrored.caught_up()
    return mirrored


async def replayed(mirrored: Mirrored) -> Replay:
    replay = Replay(mirrored.settings, mirrored.pool, Selection())
    await replay.run({1: (0, mirrored.accepted)}, lambda _: None)
    return replay


async def test_every_tool_counts_what_failed_and_agrees_about_the_rest(failed: Mirrored) -> None:
    settings, pool = failed.settings, failed.pool
    number = len(FOREIGN) + len(ODD)
    assert {row["asset_id"] for row in await failed.rows()} == {ASSET, OTHER, "6" * 32, "7" * 32, "8" * 32}
    assert await pool.fetchval("SELECT count(*) FROM media_sync_log WHERE outcome = 'failed'") == number
    assert len(await letters_of(settings)) == number
    verdict, found = await verified(settings, pool)
    assert (verdict.read, verdict.failed, found) == (failed.accepted, number, [])
    before = await failed.rows()
    done = await rebuilt(settings, pool)
    assert (done.failed, done.changed, done.restored, done.removed, done.events) == (number, 0, 0, 0, 0)
    assert await failed.rows() == before
    summary = (await replayed(failed)).summary
    assert (summary.read, summary.failed, summary.applied) == (failed.accepted, number, 0)
    assert await failed.rows() == before
    assert len(await letters_of(settings)) == number, "none is a dead letter twice"
    # a row that is wrong is found and put right all the same
    await failed.lose(ASSET)
    assert [(one.subject, one.what) for one in (await verified(settings, pool))[1]] == [(ASSET, "missing")]
    assert (await rebuilt(settings, pool)).restored == 1
    assert (await verified(settings, pool))[1] == []


async def test_history_tells_what_failed_and_why(failed: Mirrored, environment: dict[str, str]) -> None:
    del failed
    for asset, reason in (
        (NOT_ENCODED, "in the encoder)"),
        (NOT_TOLD, "ZeroDivisionError('in the event')"),
        (NOT_UNDERSTOOD, "LookupError('in the handler')"),
    ):
        code, out, err = await run("history", asset, "--json", env=environment)
        assert (code, err) == (0, "")
        (row,) = lines(out)
        assert (row["failed"], row["type"], row["changed"]) == (True, "upload", {})
        assert row["reason"].endswith(reason)
        code, out, _ = await run("history", asset, env=environment)
        assert (code, "(failed: " in out) == (0, True)
    code, out, _ = await run("history", ASSET, "--json", env=environment)
    assert (code, [row["failed"] for row in lines(out)]) == (0, [False])
    code, _, err = await run("history", "1" * 32, "--json", env=environment)
    assert (code, err.count("\n")) == (0, 0), "its body names it, though its header says nothing"


async def test_once_the_bugs_are_gone_the_log_says_more_and_each_tool_can_bring_it_back(
    failed: Mirrored, environment: dict[str, str], bugs: pytest.MonkeyPatch
) -> None:
    bugs.undo()
    code, out, err = await run("verify", "--json", env=environment)
    *found, verdict = lines(out)
    assert (code, err.count("notification failed"), "Traceback" in err) == (1, len(FOREIGN), False)
    assert {(one["subject"], one["what"]) for one in found} == {
        (asset, "missing") for asset in (NOT_UNDERSTOOD, NOT_ENCODED, NOT_TOLD)
    }
    assert (verdict["found"], verdict["failed"]) == (3, len(FOREIGN))
    code, out, err = await run("rebuild", env=environment)
    assert (code, "Traceback" in err) == (1, False)
    assert "3 differences" in out
    async with relaying(failed.settings, failed.pool):
        assert (await replayed(failed)).summary.applied == 3
        code, out, _ = await run("dlq", "redrive", "--all", "--json", env=environment)
        assert (code, len(lines(out))) == (0, len(FOREIGN) + len(ODD))
        async with mirrored_with(failed.settings, failed.pool) as mirrored:
            mirrored.accepted = failed.accepted + len(FOREIGN) + len(ODD)
            await mirrored.caught_up()
        await emptied(failed.pool)
    code, out, err = await run("verify", env=environment)
    assert (code, "Traceback" in err) == (0, False), out
    assert "the mirror equals the log" in out
    assert f"{2 * len(FOREIGN)} can't be processed" in out
    code, out, _ = await run("rebuild", "--swap", env=environment)
    assert (code, " 0 rows put right, 0 restored, 0 removed" in out) == (0, True)
    ids = [event.get_id() for event in await events_of(failed.settings)]
    assert len(ids) == len(set(ids)) == 8
    code, out, _ = await run("history", NOT_TOLD, "--json", env=environment)
    assert (code, [row["failed"] for row in lines(out)]) == (0, [False, False]), "the record, and what was sent again"


async def test_verify_needs_neither_the_dead_letters_nor_the_sync_log(failed: Mirrored) -> None:
    await failed.pool.execute("TRUNCATE media_sync_log")
    verdict, found = await verified(failed.settings, failed.pool)
    assert verdict.failed == len(FOREIGN) + len(ODD) - 1, "what only the events could not take is a row, as far as one can see"
    assert [one.subject for one in found] == [NOT_TOLD]
