"""The log, read again: replay, history, and the events as a subscriber sees them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.asset import Asset
from service.database import Pool
from service.kafka import ensure_topics, make_producer
from service.settings import Settings
from tests.bodies import ASSET, BEGINNING, CLOUD, delete, envelope, rename, triggered, upload
from tests.integration.conftest import Mirrored, eventually, mirrored_with
from tests.integration.test_cli import lines, run, start, stop
from tests.integration.test_events import emptied, events_of, relaying

OTHER = "c" * 32
NOTHING_DONE = {"applied": 0, "failed": 0, "skipped": 0, "complete": True}


def moved(at: float, path: str, to: str) -> dict[str, Any]:
    return {"notification_type": "move_or_rename_asset_folder", "from_path": path, "to_path": to} | triggered(at)


def tagged(at: float, *added: str, **names: str) -> dict[str, Any]:
    resource = {"public_id": f"name-of-{ASSET}", "resource_type": "image", "type": "upload", "added": added} | names
    return {"notification_type": "resource_tags_changed", "resources": [resource]} | triggered(at)


async def tables(pool: Pool) -> dict[str, list[dict[str, Any]]]:
    """All that a replay might touch."""
    orders = {
        "media_assets": "cloud, asset_id",
        "media_folders": "cloud, path",
        "media_folder_events": "cloud, clock",
        "media_refetch": "cloud, asset_id",
        "media_offsets": "kafka_partition",
        "media_outbox": "id",
        "media_sync_log": "kafka_partition, kafka_offset, ordinal, applied_at",
    }
    return {
        table: [dict(row) for row in await pool.fetch(f"SELECT * FROM {table} ORDER BY {by}")] for table, by in orders.items()
    }


async def told(mirrored: Mirrored, *bodies: dict[str, Any]) -> None:
    """Have the mirror apply bodies, one after the other."""
    for body in bodies:
        assert await mirrored.post(body) == 200
        await mirrored.caught_up()


async def replayed(environment: dict[str, str], *arguments: object) -> dict[str, Any]:
    """The summary of a replay."""
    code, out, err = await run("replay", *arguments, "--json", env=environment)
    assert (code, err) == (0, "")
    summary: dict[str, Any] = lines(out)[-1]
    return summary


LIFE = [
    upload(at=1, tags=["a"], asset_folder="x"),
    upload(OTHER, at=2, asset_folder="x"),
    tagged(3, "b", asset_id=ASSET),
    moved(4, "x", "y"),
    rename(at=5, to="new"),
    delete(OTHER, at=6),
    {"notification_type": "report"} | triggered(7),
]


async def test_a_replay_of_what_is_there_changes_nothing_and_tells_nobody(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    await told(mirrored, *LIFE)
    before = await tables(mirrored.pool)
    summary = await replayed(environment, "--from-beginning")
    assert summary.items() >= (NOTHING_DONE | {"read": 7, "unchanged": 7}).items()
    assert await tables(mirrored.pool) == before


async def test_a_replay_under_traffic_sends_no_event_twice_and_leaves_each_revision_right(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    async with relaying(mirrored.settings, mirrored.pool):
        old = [f"{number:032x}" for number in range(300)]
        await asyncio.gather(*(mirrored.post(upload(asset, at=1)) for asset in old))
        await mirrored.caught_up()
        before = (await tables(mirrored.pool))["media_assets"]
        process = await start("replay", "--from-beginning", "--json", env=environment)
        new = 0
        while process.returncode is None:
            body = upload(f"{1000 + new:032x}", at=2) if new % 2 else delete(OTHER, at=new)
            assert await mirrored.post(body) == 200
            new += 1
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert orjson.loads(out)["read"] >= 300
        await mirrored.caught_up()
        await emptied(mirrored.pool)
        after = {row["asset_id"]: row for row in (await tables(mirrored.pool))["media_assets"]}
        assert [after[row["asset_id"]] for row in before] == before
        ids = [event.get_id() for event in await events_of(mirrored.settings)]
        code, said, _ = await run("verify", env=environment)
        assert (code, "the mirror equals the log" in said) == (0, True), said
    assert len(ids) == len(set(ids)) == sum(row["revision"] for row in after.values())


async def test_replay_brings_back_a_lost_row_but_not_a_field_that_its_clock_says_is_newest(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    await told(mirrored, *LIFE)
    before = {row["asset_id"]: dict(row) for row in await mirrored.rows()}
    await mirrored.lose(ASSET)
    await mirrored.pool.execute("UPDATE media_assets SET display_name = 'damaged' WHERE asset_id = $1", OTHER)
    summary = await replayed(environment, "--from-beginning")
    after = {row["asset_id"]: row for row in await mirrored.rows()}
    unlike = {name for name in before[ASSET] if before[ASSET][name] != after[ASSET][name]}
    # its folder is found with the move in hand, so there is no change for that any more
    assert unlike <= {"revision", "updated_at"}
    assert after[OTHER]["display_name"] == "damaged"
    assert (summary["applied"], summary["failed"]) == (3, 0)
    # what nobody has a clock for is told again
    await mirrored.pool.execute("UPDATE media_assets SET clocks = clocks - 'display' WHERE asset_id = $1", OTHER)
    assert (await replayed(environment, "--from-beginning"))["applied"] == 1
    assert {row["asset_id"]: row["display_name"] for row in await mirrored.rows()}[OTHER] == "jeans"


async def test_replay_of_one_asset_leaves_the_others_alone(mirrored: Mirrored, environment: dict[str, str]) -> None:
    await told(mirrored, *LIFE, delete(ASSET, OTHER, at=8))
    await mirrored.pool.execute("UPDATE media_assets SET clocks = '{}', tags = '{}', deleted_at = NULL")
    summary = await replayed(environment, "--from-beginning", "--asset", f"name-of-{ASSET}")
    assert (summary["read"], summary["skipped"], summary["failed"]) == (8, 4, 0)
    rows = {row["asset_id"]: row for row in await mirrored.rows()}
    assert (rows[ASSET]["tags"], rows[ASSET]["public_id"], rows[ASSET]["deleted_at"]) == (
        ["a", "b"], f"name-of-{ASSET}", datetime(2026, 1, 1, 0, 0, 8, tzinfo=UTC),
    )  # fmt: skip
    assert (rows[OTHER]["clocks"], rows[OTHER]["deleted_at"]) == ({}, None)
    # a row that is gone goes by its id
    await mirrored.lose()
    assert (await replayed(environment, "--from-beginning", "--asset", OTHER))["skipped"] == 5
    assert [row["asset_id"] for row in await mirrored.rows()] == [OTHER]
    assert (await replayed(environment, "--from-beginning", "--cloud", CLOUD))["applied"] > 0
    assert len(await mirrored.rows()) == 2


async def test_a_dry_run_says_what_would_change_and_changes_nothing(mirrored: Mirrored, environment: dict[str, str]) -> None:
    await told(mirrored, *LIFE)
    await mirrored.lose(OTHER)
    before = await tables(mirrored.pool)
    code, out, err = await run("replay", "--from-beginning", "--dry-run", env=environment)
    assert (code, err) == (0, "")
    *changes, summary = out.splitlines()
    assert len(changes) == 2
    assert all(change.startswith(f"{CLOUD}  {OTHER}  ") for change in changes)
    assert summary.startswith("7 read, 2 would be applied, 5 unchanged, 0 failed, in ")
    assert await tables(mirrored.pool) == before


async def test_spans_by_offset_and_by_time(mirrored: Mirrored, environment: dict[str, str]) -> None:
    await told(mirrored, *LIFE)
    offsets = {row["kafka_partition"]: row["next_offset"] for row in (await tables(mirrored.pool))["media_offsets"]}
    partition, end = max(offsets.items(), key=lambda item: item[1])
    ofs = ("--partition", partition, "--from-offset")
    assert (await replayed(environment, *ofs, end))["read"] == 0
    assert (await replayed(environment, *ofs, 0, "--to-offset", end - 1))["read"] == end - 1
    assert (await replayed(environment, "--from-time", "1h"))["read"] == 7
    assert (await replayed(environment, "--from-time", "0s"))["read"] == 0
    assert (await replayed(environment, "--from-time", "2020-01-01", "--to-time", "1h"))["read"] == 0
    assert (await replayed(environment, "--from-beginning", "--to-time", "0s"))["read"] == 7


async def test_records_that_fail_are_counted_and_are_no_dead_letters_again(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    await ensure_topics(mirrored.settings)
    producer = make_producer(mirrored.settings)
    await producer.start()
    await producer.send_and_wait(mirrored.settings.notifications_topic, b"[]", headers=envelope(b"[]").to_headers())
    await producer.stop()
    mirrored.accepted += 1
    await told(mirrored, upload(at=1))
    before = await tables(mirrored.pool)
    code, out, err = await run("replay", "--from-beginning", "--json", env=environment)
    (summary,) = lines(out)
    assert code == 0
    assert [orjson.loads(line)["event"] for line in err.splitlines()] == ["notification failed"]
    assert (summary["read"], summary["unchanged"], summary["failed"]) == (2, 1, 1)
    assert await tables(mirrored.pool) == before
    _, out, _ = await run("dlq", "list", "--all", "--json", env=environment)
    assert len(lines(out)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Say from where"),
        (("--from-time", "soon"), 2, "A time is one of ISO 8601"),
        (("--from-time", "2999-01-01"), 2, "2999-01-01 is in the future"),
        (("--from-time", "1h", "--to-time", "2h"), 2, "The end, 2h, lies before the beginning, 1h."),
        (("--from-beginning", "--to-offset", 3), 2, "Say from where"),
        (("--partition", 99, "--from-offset", 0), 2, "{topic} has no partition 99; it has 0 to 2."),
        (("--partition", 0, "--from-offset", 10**30), 2, "{topic} has no offset 1" + "0" * 30),
        (("--partition", 0, "--from-offset", 0, "--to-offset", 99), 2, "{topic} has no offset 99 in partition 0; it has 0 to "),
        (("--from-beginning", "--cloud", "nobody"), 2, f"The cloud nobody isn't configured; configured: {CLOUD}."),
        (("--from-beginning", "--asset", "nothing"), 2, "The mirror knows no asset nothing."),
    ],
)
async def test_bad_input_is_one_line_and_changes_nothing(
    mirrored: Mirrored, environment: dict[str, str], arguments: tuple[object, ...], code: int, message: str
) -> None:
    await told(mirrored, upload(at=1))
    before = await tables(mirrored.pool)
    status, out, err = await run("replay", *arguments, env=environment)
    assert (status, out, err.count("\n")) == (code, "", 1)
    assert err.startswith("mediamirror: " + message.format(topic=mirrored.settings.notifications_topic))
    assert await tables(mirrored.pool) == before


@pytest.mark.usefixtures("pool")
async def test_a_topic_that_is_not_there_is_said_so(environment: dict[str, str]) -> None:
    for arguments in (("replay", "--from-beginning"), ("history", ASSET), ("events",), ("events", "--follow")):
        status, out, err = await run(*arguments, env=environment)
        assert (status, out, err.count("\n")) == (2, "", 1), (arguments, err)
        assert err.startswith("mediamirror: There is no topic ")


@asynccontextmanager
async def held_up(mirrored: Mirrored, environment: dict[str, str], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replay that waits for a row, which comes free in the end."""
    async with mirrored.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM media_assets FOR UPDATE")
        process = await start("replay", "--from-beginning", *arguments, env=environment)

        async def waits() -> bool:
            return bool(await mirrored.pool.fetch(WAITING))

        await eventually(waits)
        yield process


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
async def test_told_to_stop_a_replay_sums_up_what_it_has_done(
    mirrored: Mirrored, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    await told(mirrored, upload(at=1))
    before = await tables(mirrored.pool)
    async with held_up(mirrored, environment, *arguments) as process:
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode().startswith("0 read, 0 ")
    assert out.decode().endswith("; stopped before its end\n")
    assert await tables(mirrored.pool) == before


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
async def test_a_replay_waits_until_postgresql_is_back(
    mirrored: Mirrored, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    await told(mirrored, upload(at=1))
    async with held_up(mirrored, environment, "--json", *arguments) as process:
        for _ in range(2):
            (waiting,) = await mirrored.pool.fetch(WAITING)
            await mirrored.pool.execute("SELECT pg_terminate_backend($1)", waiting["pid"])

            async def waits_again(pid: int = waiting["pid"]) -> bool:
                return [row["pid"] for row in await mirrored.pool.fetch(WAITING)] not in ([], [pid])

            await eventually(waits_again)
    out, err = await process.communicate()
    assert process.returncode == 0
    assert b"stamina.retry_scheduled" in err
    assert lines(out.decode())[-1].items() >= (NOTHING_DONE | {"read": 1, "unchanged": 1}).items()


async def test_history_shows_what_each_notification_changed_in_the_order_in_which_things_happened(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    # a name alone, before and after it was another's; and what comes out of order
    life = [LIFE[0], LIFE[1], LIFE[2], tagged(2, "early"), LIFE[3], LIFE[4], LIFE[2], delete(at=9, public_id="new")]
    await told(mirrored, *life)
    code, out, err = await run("history", "new", "--json", env=environment)
    assert (code, err) == (0, "")
    moments = lines(out)
    seconds = [(datetime.fromisoformat(moment["event_time"]) - BEGINNING).total_seconds() for moment in moments]
    assert seconds == [1, 2, 3, 3, 4, 5, 9]
    assert [moment["type"] for moment in moments] == [
        "upload", "resource_tags_changed", "resource_tags_changed", "resource_tags_changed", "move_or_rename_asset_folder",
        "rename", "delete",
    ]  # fmt: skip
    changes = [moment["changed"] for moment in moments]
    assert changes[0]["public_id"] == {"from": None, "to": f"name-of-{ASSET}"}
    assert changes[1:] == [
        {"tags": {"from": ["a"], "to": ["a", "early"]}},
        {"tags": {"from": ["a", "early"], "to": ["a", "b", "early"]}},
        {},
        {"asset_folder": {"from": "x", "to": "y"}},
        {"public_id": {"from": f"name-of-{ASSET}", "to": "new"}},
        {"deleted_at": {"from": None, "to": "2026-01-01T00:00:09+00:00"}},
    ]
    logged = {(row["kafka_partition"], row["kafka_offset"]) for row in await mirrored.rows("media_sync_log")}
    assert {(moment["partition"], moment["offset"]) for moment in moments} <= logged
    assert {moment["triggered_by"] for moment in moments} == {"api:333333333333333"}
    _, out, _ = await run("history", ASSET, env=environment)
    assert f"public_id: name-of-{ASSET} → new" in out


async def test_history_at_a_time_gives_the_state_of_then(mirrored: Mirrored, environment: dict[str, str]) -> None:
    await told(mirrored, *LIFE)
    (row,) = [row for row in await mirrored.rows() if row["asset_id"] == ASSET]

    async def at(seconds: int) -> dict[str, Any]:
        _, out, _ = await run("history", ASSET, "--at", f"2026-01-01T00:00:{seconds:02}Z", "--json", env=environment)
        (state,) = lines(out)
        return state

    then = await at(3)
    assert (then["tags"], then["asset_folder"], then["public_id"]) == (["a", "b"], "x", f"name-of-{ASSET}")
    assert (await at(4))["asset_folder"] == "y"
    now = await at(59)
    assert now == orjson.loads(orjson.dumps({name: row[name] for name in now}))
    assert set(now) == set(Asset._fields) - {"revision", "clocks", "assigned_folder"}
    _, out, _ = await run("history", ASSET, "--at", "2026-01-01T00:00:03Z", env=environment)
    assert f"name-of-{ASSET}" in out
    code, out, err = await run("history", ASSET, "--at", "2025-01-01", env=environment)
    assert (code, out) == (1, "")
    assert err == f"mediamirror: The log says nothing about the asset {ASSET} before 2026-01-01 00:00:01+00:00.\n"


async def test_history_finds_what_the_mirror_has_lost_and_says_what_nobody_knows(
    mirrored: Mirrored, environment: dict[str, str]
) -> None:
    # only ever called by its old name, before it got another
    await told(mirrored, upload(at=1, tags=[]), tagged(2, "t"), rename(at=3, to="new"))
    await mirrored.lose()
    _, out, _ = await run("history", ASSET, "--json", env=environment)
    assert [max(moment["changed"]) for moment in lines(out)] == ["version", "tags", "public_id"]
    for arguments, status, message in (
        ((OTHER,), 1, "The log says nothing about the asset"),
        (("nothing",), 2, "The mirror knows no asset nothing."),
        ((ASSET, "--at", "2999-01-01"), 2, "2999-01-01 is in the future"),
        ((ASSET, "--cloud", "nobody"), 2, "The cloud nobody isn't configured"),
    ):
        code, out, err = await run("history", *arguments, env=environment)
        assert (code, out, err.count("\n")) == (status, "", 1)
        assert err.startswith(f"mediamirror: {message}")


async def test_history_asks_which_when_several_have_the_name(mirrored: Mirrored, environment: dict[str, str]) -> None:
    await told(mirrored, upload(at=1, public_id="x"), upload(OTHER, at=2, public_id="x", resource_type="video"))
    code, _, err = await run("history", "x", env=environment)
    assert (code, err.count("\n")) == (2, 1)
    assert ASSET in err
    assert OTHER in err


@asynccontextmanager
async def following(environment: dict[str, str], *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start("events", "--follow", *arguments, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            await stop(process)


async def test_events_are_printed_as_they_are_and_as_they_come(
    settings: Settings, pool: Pool, environment: dict[str, str]
) -> None:
    async with mirrored_with(settings, pool) as mirrored, relaying(settings, pool):
        await told(mirrored, *LIFE)
        await emptied(pool)
        _, out, _ = await run("events", "--json", "--asset", ASSET, env=environment)
        events = lines(out)
        assert [event["revision"] for event in events] == ["1", "2", "3", "4"]
        assert events[0].keys() >= {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
        _, out, _ = await run("events", "--type", "media.asset.renamed", "--type", "media.folder.moved", env=environment)
        moved_line, renamed_line = sorted(out.splitlines(), key=lambda line: "renamed" in line)
        assert moved_line.split("  ")[1:] == [
            "media.folder.moved", f"/cloudinary/{CLOUD}", "x", "to y", "by move_or_rename_asset_folder",
        ]  # fmt: skip
        assert renamed_line.split("  ")[1:] == [
            "media.asset.renamed", f"/cloudinary/{CLOUD}", ASSET, "r4", "new", "public_id", "by rename",
        ]  # fmt: skip
        async with following(environment, "--json", "--asset", "later") as process:
            assert process.stdout is not None
            line = asyncio.create_task(process.stdout.readline())
            at = 10
            while not line.done():
                # it hears nothing of what came before it listened
                at += 1
                await told(mirrored, upload("d" * 32, at=at, public_id="later", tags=[str(at)]), upload(OTHER, at=at))
                await asyncio.wait([line], timeout=0.5)
            assert orjson.loads(line.result())["data"]["asset"]["public_id"] == "later"
            code, _, err = await stop(process)
            assert (code, err) == (0, "")
    code, _, err = await run("events", "--type", "media.asset.exploded", env=environment)
    assert code == 2
    assert "media.asset.exploded" in err
