"""The sync log: its old days go, its new lines can be followed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from service.database import Connection, Pool
from service.follow import Filters, Follower
from service.mirror.entry import Outcome
from service.mirror.retention import Retention
from service.settings import Settings
from tests.bodies import ASSET, CLOUD, rename, upload
from tests.integration.conftest import Mirrored, eventually, mirrored_with
from tests.integration.test_cli import lines, run, start

OTHER = "c" * 32


async def make_days(pool: Pool, *ages: int) -> None:
    """Make day partitions so many days back."""
    await pool.execute("SELECT media_sync_log_prepare(2)")
    for age in ages:
        day = datetime.now(UTC).date() - timedelta(days=age)
        bounds = f"FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
        await pool.execute(f"CREATE TABLE media_sync_log_{day:%Y%m%d} PARTITION OF media_sync_log FOR VALUES {bounds}")


async def days(pool: Pool) -> list[int]:
    """How many days back each partition lies."""
    rows = await pool.fetch(
        """
        SELECT (now() AT TIME ZONE 'UTC')::date - to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS age
        FROM pg_inherits WHERE inhparent = 'media_sync_log'::regclass ORDER BY age DESC
        """
    )
    return [row["age"] for row in rows]


async def test_days_wholly_older_than_the_retention_go_whoever_drops_them(pool: Pool) -> None:
    await make_days(pool, 1, 29, 30, 31, 32, 400)
    await pool.execute("CREATE TABLE media_sync_log_copy (LIKE media_sync_log)")
    await asyncio.gather(*(Retention(pool, 30).turn() for _ in range(4)))
    # of the day that is 30 days back, a part is younger than that
    assert await days(pool) == [30, 29, 1, 0, -1, -2]
    assert await pool.fetchval("SELECT to_regclass('media_sync_log_copy') IS NOT NULL")


async def test_retention_is_looked_after_once_an_hour(pool: Pool) -> None:
    retention = Retention(pool, 30)
    await retention.turn()
    await make_days(pool, 40)
    await retention.turn()
    assert 40 in await days(pool)
    await Retention(pool, 30).turn()
    assert 40 not in await days(pool)


async def test_a_reader_in_the_way_makes_retention_give_up_and_writers_wait_but_a_moment(pool: Pool) -> None:
    await make_days(pool, 40)
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute("SELECT FROM media_sync_log")
        dropping = asyncio.create_task(Retention(pool, 30).turn())
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await write(pool, 1)
            await dropping
    assert 40 in await days(pool)
    await Retention(pool, 30).turn()
    assert 40 not in await days(pool)


async def test_the_mirror_lets_go_of_old_days_by_itself(settings: Settings, pool: Pool) -> None:
    await make_days(pool, 40)
    async with mirrored_with(settings, pool):

        async def gone() -> bool:
            return 40 not in await days(pool)

        await eventually(gone)


async def write(connection: Pool | Connection, offset: int, asset_id: str = ASSET, outcome: str = "applied") -> None:
    await connection.execute(
        """
        INSERT INTO media_sync_log
            (cloud, asset_id, notification_type, outcome, kafka_topic, kafka_partition, kafka_offset, ordinal)
        VALUES ($1, $2, 'upload', $3, 'topic', 0, $4, 0)
        """,
        CLOUD,
        asset_id,
        outcome,
        offset,
    )


class Seen:
    """What a follower has shown so far."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.offsets: list[int] = []

    async def follow(self) -> None:
        async with aclosing(self.follower.lines()) as following:
            async for line in following:
                self.offsets.append(line["kafka_offset"])

    async def shows(self, *offsets: int) -> None:
        async def shown() -> bool:
            return self.offsets == list(offsets)

        await eventually(shown, seconds=5)


@asynccontextmanager
async def followed(pool: Pool, filters: Filters | None = None) -> AsyncIterator[Seen]:
    seen = Seen(Follower(pool, filters or Filters()))
    task = asyncio.create_task(seen.follow())
    await asyncio.sleep(0.2)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def log(pool: Pool) -> Pool:
    await pool.execute("SELECT media_sync_log_prepare(2)")
    return pool


async def test_a_follower_shows_new_lines_once_and_late_commits_too(log: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.follow._SECONDS", 0.05)
    await write(log, 1)
    async with followed(log) as seen, log.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await write(slow, 2)
        await write(log, 3)
        await seen.shows(3)
        await transaction.commit()
        await seen.shows(3, 2)
        await write(log, 4)
        await seen.shows(3, 2, 4)
        await asyncio.sleep(0.3)
        assert seen.offsets == [3, 2, 4]


async def test_a_follower_tells_two_transactions_that_began_in_the_same_microsecond_apart(
    log: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.follow._SECONDS", 0.05)
    async with followed(log) as seen:
        await write(log, 1)
        await seen.shows(1)
        await log.execute("INSERT INTO media_sync_log SELECT (l).* FROM (SELECT l FROM media_sync_log AS l) AS old")
        await log.execute("UPDATE media_sync_log SET kafka_offset = 2 WHERE ctid = (SELECT max(ctid) FROM media_sync_log)")
        await seen.shows(1, 2)


async def test_a_follower_forgets_what_is_out_of_reach(log: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.follow._SECONDS", 0.01)
    monkeypatch.setattr("service.follow._OVERLAP", timedelta(milliseconds=100))
    async with followed(log) as seen:
        for number in range(20):
            await write(log, number)
            await asyncio.sleep(0.02)
        await seen.shows(*range(20))
        assert 0 < len(seen.follower._shown) < 20
        assert 0 < len(seen.follower._counts) < 20


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(asset=ASSET), [1]),
        (Filters(asset="by-name"), [2]),
        (Filters(outcome=Outcome.FAILED), [3]),
        (Filters(cloud=CLOUD), [1, 2, 3]),
        (Filters(cloud="another"), []),
    ],
)
async def test_a_follower_shows_what_was_asked_for(
    log: Pool, filters: Filters, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.follow._SECONDS", 0.05)
    await log.execute(
        "INSERT INTO media_assets (cloud, asset_id, public_id, clocks, revision) VALUES ($1, $2, 'by-name', '{}', 1)",
        CLOUD,
        OTHER,
    )
    async with followed(log, filters) as seen:
        await write(log, 1)
        await write(log, 2, OTHER)
        await write(log, 3, "d" * 32, "failed")
        await asyncio.sleep(0.3)
        await seen.shows(*expected)


async def test_the_log_command_follows_until_told_to_stop(mirrored: Mirrored, environment: dict[str, str]) -> None:
    assert await mirrored.post(upload(at=1)) == 200
    await mirrored.caught_up()
    following = await start("log", "--follow", "--json", "--asset", "new", env=environment)
    plain = await start("log", "--follow", env=environment)
    assert following.stdout is not None
    assert plain.stdout is not None
    reading = [asyncio.create_task(stdout.readline()) for stdout in (following.stdout, plain.stdout)]
    number = 1
    while not all(task.done() for task in reading):
        number += 1
        assert await mirrored.post(rename(at=number, to="new")) == 200
        await asyncio.wait(reading, timeout=0.5, return_when=asyncio.ALL_COMPLETED)
    line: dict[str, Any] = orjson.loads(reading[0].result())
    assert (line["notification_type"], line["asset_id"], line["public_id"]) == ("rename", ASSET, "new")
    assert line["kafka_topic"] == mirrored.settings.notifications_topic
    assert b"rename  new" in reading[1].result()
    for process in (following, plain):
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
    _, out, _ = await run("log", "--asset", "new", "--json", env=environment)
    assert {one["asset_id"] for one in lines(out)} == {ASSET}
    assert [one["notification_type"] for one in lines(out)][-1] == "upload"


async def test_following_a_database_that_goes_away_ends_with_words(settings: Settings, environment: dict[str, str]) -> None:
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    server, _, name = url.rpartition("/")
    assert (await run("migrate", env=environment))[0] == 0
    following = await start("log", "--follow", env=environment)
    admin = await asyncpg.connect(f"{server}/postgres")

    async def connected() -> bool:
        return bool(await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name))

    await eventually(connected)
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = current_user"
    )
    await admin.close()
    _, err = await following.communicate()
    assert following.returncode == 1
    assert b"PostgreSQL can't be reached" in err
    assert err.count(b"\n") == 1
