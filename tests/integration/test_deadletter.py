"""Records that can't be processed: kept with their reason, passed by, sent again."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry

import service.mirror.deadletter
from handlers.registry import interpret
from schemas.notification import Notification
from service.database import Pool, connect
from service.dlq.letter import DeadLetter
from service.dlq.reader import read_letters
from service.kafka import ensure_topics, make_producer
from service.mirror.consumer import Mirror
from service.mirror.deadletter import TooLargeForDeadLetterError
from service.mirror.entry import Entry
from service.mirror.fold import fold
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import ASSET, envelope, upload
from tests.integration.conftest import Mirrored, eventually, kafka_client, mirrored_with
from tests.integration.test_cli import lines, run

BAD = "b" * 32
OTHER = "c" * 32


def signed(asset_id: str) -> tuple[bytes, bytes, Sequence[tuple[str, bytes]]]:
    """A record of the gateway's: key, value, headers."""
    raw = orjson.dumps(upload(asset_id, at=1))
    return asset_id.encode(), raw, envelope(raw, "upload").to_headers()


async def produce(settings: Settings, *records: tuple[bytes | None, bytes | None, Sequence[tuple[str, Any]]]) -> None:
    """Put records into partition 1."""
    await ensure_topics(settings)
    producer: AIOKafkaProducer = make_producer(settings)
    await producer.start()
    try:
        for key, value, headers in records:
            await producer.send_and_wait(settings.notifications_topic, value, key=key, partition=1, headers=headers)
    finally:
        await producer.stop()


async def letters_of(settings: Settings) -> list[DeadLetter]:
    async with aclosing(read_letters(settings)) as letters:
        return [letter async for letter in letters]


async def make_dead_letter_topic(settings: Settings, **configuration: str) -> None:
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    try:
        configs = {name.replace("_", "."): value for name, value in configuration.items()}
        await admin.create_topics([NewTopic(settings.dead_letter_topic, 1, 1, topic_configs=configs)])
    finally:
        await admin.close()


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A handler that raises for one asset, until undone."""

    def buggy(notification: Notification) -> Any:
        if notification.body["asset_id"] == BAD:
            raise LookupError("a bug")
        return interpret(notification)

    monkeypatch.setattr("service.mirror.entry.interpret", buggy)
    return monkeypatch


async def outcomes(pool: Pool) -> list[str]:
    return [row["outcome"] for row in await pool.fetch("SELECT outcome FROM media_sync_log ORDER BY kafka_offset")]


@pytest.mark.usefixtures("bug")
async def test_a_record_whose_handler_raises_is_kept_with_its_reason_and_its_batch_goes_on(
    settings: Settings, pool: Pool
) -> None:
    await produce(settings, signed(ASSET), signed(BAD), signed(OTHER))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 3
        await mirrored.caught_up()
        assert {row["asset_id"] for row in await mirrored.rows()} == {ASSET, OTHER}
        metrics = mirrored.mirror._metrics
        assert metrics.registry.get_sample_value("mediamirror_dead_letters_total", {"exception": "LookupError"}) == 1
    assert await outcomes(pool) == ["applied", "failed", "applied"]
    (letter,) = await letters_of(settings)
    assert (letter.key, letter.value, letter.headers) == signed_tuple(BAD)
    assert (letter.origin.topic, letter.origin.partition, letter.origin.offset) == (settings.notifications_topic, 1, 1)
    assert abs(letter.origin.timestamp - letter.failed_at.timestamp() * 1000) < 60_000
    failure = letter.failure
    assert (failure.exception, failure.message, failure.attempts) == ("LookupError", "a bug", 2)


def signed_tuple(asset_id: str) -> tuple[bytes, bytes, Sequence[tuple[str, bytes]]]:
    key, value, headers = signed(asset_id)
    return key, value, tuple(headers)


async def test_a_record_that_can_not_be_merged_is_kept_alone(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(entries: Sequence[Entry], *others: Any, **options: Any) -> Any:
        if any(entry.record.key == BAD.encode() for entry in entries if entry.statements):
            raise ZeroDivisionError("in the merge")
        return fold(entries, *others, **options)

    monkeypatch.setattr("service.mirror.store.fold", buggy)
    await produce(settings, signed(ASSET), signed(BAD), signed(OTHER))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 3
        await mirrored.caught_up()
        assert {row["asset_id"] for row in await mirrored.rows()} == {ASSET, OTHER}
    assert await outcomes(pool) == ["applied", "failed", "applied"]
    (letter,) = await letters_of(settings)
    assert (letter.key, letter.failure.exception) == (BAD.encode(), "ZeroDivisionError")


async def test_strangers_records_are_kept_as_they_are_whatever_they_say_of_themselves(settings: Settings, pool: Pool) -> None:
    _, value, headers = signed(BAD)
    # text that PostgreSQL can't hold, in what the sync log tells
    poisoned = [(name, b"a\0c" if name == "cloud" else content) for name, content in headers]
    bodies: list[tuple[bytes | None, bytes | None, Sequence[tuple[str, Any]]]] = [
        (None, b"\xff\0", [("null", None), ("empty", b"")]),
        (b"tombstone", None, []),
        (b"poisoned", b"not json", poisoned),
        (b"poisoned, too", value, poisoned),
    ]
    await produce(settings, *bodies, signed(ASSET))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 5
        await mirrored.caught_up()
        assert {row["asset_id"] for row in await mirrored.rows()} == {ASSET}
    assert await outcomes(pool) == ["failed"] * 4 + ["applied"]
    kept = [(letter.key, letter.value, letter.headers) for letter in await letters_of(settings)]
    assert kept == [(key, value, tuple(headers)) for key, value, headers in bodies]


async def test_a_dead_letter_sent_again_after_the_bug_is_fixed_makes_the_row_right_and_is_not_offered_again(
    settings: Settings, pool: Pool, environment: dict[str, str], bug: pytest.MonkeyPatch
) -> None:
    assert await run("dlq", "list", env=environment) == (0, "no dead letters\n", "")
    assert await run("dlq", "redrive", "--all", env=environment) == (0, "nothing to send again\n", "")
    await produce(settings, signed(BAD), signed(ASSET))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 2
        await mirrored.caught_up()
    bug.undo()

    code, out, _ = await run("dlq", "list", "--json", env=environment)
    (listed,) = lines(out)
    assert code == 0
    assert listed["id"] == "0:0"
    assert (listed["origin"], listed["notification_type"], listed["key"]) == ("1:0", "upload", BAD)
    assert (listed["exception"], listed["message"], listed["redriven_at"]) == ("LookupError", "a bug", None)
    assert "LookupError" in (await run("dlq", "list", env=environment))[1]
    _, out, _ = await run("dlq", "show", "0:0", "--json", env=environment)
    (shown,) = lines(out)
    assert (shown["body"].encode(), dict(shown["headers"])["cloud"]) == (signed(BAD)[1], "acme")
    _, out, _ = await run("dlq", "show", "0:0", env=environment)
    assert out.encode().endswith(b"\n\n" + signed(BAD)[1] + b"\n")

    code, out, _ = await run("dlq", "redrive", "0:0", "--dry-run", env=environment)
    assert (code, out) == (0, f"0:0  upload  {BAD}\n1 would be sent again\n")
    code, out, err = await run("dlq", "redrive", "--all", "--json", env=environment)
    assert (code, err) == (0, "")
    (sent,) = lines(out)
    assert (code, sent["id"], sent["redriven"]) == (0, "0:0", True)

    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 3
        await mirrored.caught_up()
        assert {row["asset_id"] for row in await mirrored.rows()} == {ASSET, BAD}
    assert await pool.fetchval("SELECT digest FROM media_sync_log WHERE outcome = 'failed'") == await pool.fetchval(
        "SELECT digest FROM media_sync_log WHERE outcome = 'applied' AND asset_id = $1", BAD
    )
    assert await run("dlq", "list", env=environment) == (0, "no dead letters\n", "")
    assert await run("dlq", "redrive", "--all", env=environment) == (0, "nothing to send again\n", "")
    _, out, _ = await run("dlq", "list", "--all", "--json", env=environment)
    assert lines(out)[0]["redriven_at"]
    assert len(await letters_of(settings)) == 1


async def test_what_a_user_does_wrong_with_dead_letters_is_one_line_and_an_exit_code(
    environment: dict[str, str], pool: Pool
) -> None:
    del pool
    for arguments, message in (
        (("show", "x"), "PARTITION:OFFSET"),
        (("show", "0:7"), "There is no dead letter 0:7"),
        (("redrive",), "Say which dead letters"),
        (("redrive", "0:1", "--all"), "Say which dead letters"),
        (("redrive", "x"), "PARTITION:OFFSET"),
        (("redrive", "0:7", "0:8", "--dry-run"), "There is no dead letter 0:7, 0:8"),
    ):
        code, out, err = await run("dlq", *arguments, env=environment)
        assert message in err
        assert (code, out, err.count("\n")) == (2, "", 1), err
    code, _, err = await run("dlq", "list", env=environment | {"MEDIAMIRROR_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert (code, err.count("\n")) == (1, 1)
    assert "Kafka can't be reached" in err


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("ALTER DATABASE {name} ALLOW_CONNECTIONS false", "ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "ALTER DATABASE {name} RESET ALL"),
    ],
    ids=["refuses", "read-only"],
)
async def test_an_outage_of_postgresql_makes_no_dead_letter(mirrored: Mirrored, away: str, back: str) -> None:
    url = mirrored.settings.database_url.get_secret_value() if mirrored.settings.database_url else ""
    server, _, name = url.rpartition("/")
    hang_up = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user"
    assert await mirrored.post(upload(at=1)) == 200
    await mirrored.caught_up()
    admin = await asyncpg.connect(f"{server}/postgres")
    try:
        await admin.execute(away.format(name=name))
        await admin.fetch(hang_up, name)
        for number in range(5):
            assert await mirrored.post(upload(f"{number:032x}", at=1)) == 200
        await asyncio.sleep(1)  # the outage: long enough for several attempts
        await admin.execute(back.format(name=name))
        await admin.fetch(hang_up, name)
    finally:
        await admin.close()
    # the connections of the mirror's pool were cut, so we look through others
    async with connect(mirrored.settings) as intact:
        looking = replace(mirrored, pool=intact)
        await looking.caught_up()
        assert len(await looking.rows()) == 6
        assert {line["outcome"] for line in await looking.rows("media_sync_log")} == {"applied"}
    assert await letters_of(mirrored.settings) == []


@pytest.mark.usefixtures("bug")
@pytest.mark.parametrize("how", ["unreachable", "silent"])
async def test_while_no_dead_letter_can_be_written_nothing_is_passed_by(
    how: str, settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    def useless_producer(settings: Settings) -> AIOKafkaProducer:
        away = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
        producer = make_producer(away if how == "unreachable" else settings)
        producer.send_and_wait = never
        return producer

    monkeypatch.setattr(service.mirror.deadletter, "_ACK_SECONDS", 0.5)
    await produce(settings, signed(ASSET), signed(BAD), signed(OTHER))
    async with mirrored_with(settings, pool) as mirrored:
        registry = mirrored.mirror._metrics.registry
        with monkeypatch.context() as patched:
            patched.setattr(service.mirror.deadletter, "make_producer", useless_producer)

            async def tried_thrice() -> bool:
                return (registry.get_sample_value("mediamirror_consumer_renewals_total") or 0) >= 3

            await eventually(tried_thrice)
            assert await outcomes(pool) == []
            assert await pool.fetchval("SELECT max(next_offset) FROM media_offsets") == 0
            assert await letters_of(settings) == []
        mirrored.accepted = 3
        await mirrored.caught_up()
    assert await outcomes(pool) == ["applied", "failed", "applied"]
    assert [letter.key for letter in await letters_of(settings)] == [BAD.encode()]


@pytest.mark.usefixtures("bug")
async def test_a_dead_letter_too_large_for_its_topic_stops_the_mirror_with_words(settings: Settings, pool: Pool) -> None:
    await make_dead_letter_topic(settings, max_message_bytes="300")
    await produce(settings, signed(ASSET), signed(BAD))
    mirror = Mirror(settings, pool, Metrics(CollectorRegistry()))
    with pytest.raises(TooLargeForDeadLetterError, match="mediamirror mirror --accept-gap 1:2"):
        await mirror.run()
    assert await outcomes(pool) == []


async def test_a_signed_body_that_is_no_json_object_is_kept_and_its_asset_asked_about(mirrored: Mirrored) -> None:
    settings = mirrored.settings
    whole = orjson.dumps(upload(OTHER, at=1))
    broken = [whole.replace(b'"type"', b'"Artist":"Andr\xe9","type"', 1), whole[:-1], b"", whole.decode().encode("utf-16")]
    for body in broken:
        assert await mirrored.post(body) == 200
    await mirrored.caught_up()
    log = await mirrored.pool.fetch("SELECT asset_id, notification_type, outcome, reason FROM media_sync_log")
    assert sorted((line["asset_id"] or "", line["notification_type"]) for line in log) == [("", ""), *[(OTHER, "upload")] * 3]
    assert {(line["outcome"], line["reason"]) for line in log} == {("failed", "the body is not a JSON object")}
    assert sorted(letter.value or b"" for letter in await letters_of(settings)) == sorted(broken)
    questions = await mirrored.pool.fetch("SELECT asset_id FROM media_refetch")
    assert [question["asset_id"] for question in questions] == [OTHER]
