"""Each role with the ACLs that it needs, and no others."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.database import Pool
from service.dlq.reader import read_letters
from service.doctor.doctor import Doctor
from service.doctor.finding import Level
from service.events.relay import Relay
from service.events.tail import read_events
from service.gateway.app import run_gateway
from service.kafka import (
    KafkaForbiddenError,
    NoSuchTopicError,
    ensure_topics,
    let_go,
    make_producer,
    partition_bounds,
    start,
    topic_bounds,
)
from service.mirror.consumer import Mirror
from service.publisher import NotDurableError, Publisher
from service.settings import Cloud, Settings
from service.telemetry import Metrics
from tests.bodies import CLOUD, KEY, SECRET
from tests.integration.conftest import Mirrored, eventually
from tests.integration.guarded import ADMIN, GuardedKafka, Operation, Resource, guarded_kafka


@pytest.fixture(scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedKafka]:
    users = ("gateway", "mirror", "relay", "reader", "stranger", "founder", "mute", "blinkered")
    async with guarded_kafka(tmp_path_factory.mktemp("kafka"), *users) as kafka:
        yield kafka


def acting_as(user: str, kafka: GuardedKafka, settings: Settings) -> Settings:
    options = kafka.options(user)
    return settings.model_copy(update=options | {"kafka_sasl_password": SecretStr(user)})


async def test_each_role_works_with_the_acls_that_the_readme_lists(kafka: GuardedKafka, settings: Settings, pool: Pool) -> None:
    await ensure_topics(acting_as(ADMIN, kafka, settings))
    topics = (settings.notifications_topic, settings.dead_letter_topic, settings.events_topic, settings.assets_topic)
    await kafka.allow("gateway", Resource.TOPIC, settings.notifications_topic, Operation.WRITE)
    await kafka.allow("mirror", Resource.TOPIC, settings.notifications_topic, Operation.READ)
    await kafka.allow("mirror", Resource.TOPIC, settings.dead_letter_topic, Operation.WRITE)
    await kafka.allow("mirror", Resource.GROUP, settings.mirror_group, Operation.READ)
    for topic in (settings.events_topic, settings.assets_topic):
        await kafka.allow("relay", Resource.TOPIC, topic, Operation.WRITE)
    for topic in topics:
        await kafka.allow("reader", Resource.TOPIC, topic, Operation.READ)

    metrics = Metrics(CollectorRegistry())
    mirror = Mirror(acting_as("mirror", kafka, settings), pool, metrics)
    relay = Relay(acting_as("relay", kafka, settings), pool, metrics)
    reader = acting_as("reader", kafka, settings)
    async with (
        run_gateway(acting_as("gateway", kafka, settings), metrics) as gateway,
        aiohttp.ClientSession() as session,
        asyncio.TaskGroup() as roles,
    ):
        tasks = [roles.create_task(role.run()) for role in (mirror, relay)]
        mirrored = Mirrored(settings, pool, gateway.url, gateway.admin, mirror, session)
        body = {"notification_type": "upload", "asset_id": "a" * 32, "public_id": "hill", "version": int(time.time())}
        assert await mirrored.post(body | {"resource_type": "image", "type": "upload"}) == 200
        await mirrored.caught_up()
        await produce_nonsense(acting_as(ADMIN, kafka, settings))

        async def all_is_told() -> bool:
            async with aclosing(read_events(reader, follow=False)) as events:
                told = [event.type async for event in events]
            async with aclosing(read_letters(reader)) as letters:
                return bool(told) and bool([letter async for letter in letters])

        await eventually(all_is_told)
        for task in tasks:
            task.cancel()
    assert [row["outcome"] for row in await mirrored.rows("media_sync_log")].count("failed") == 1
    for topic in (settings.events_topic, settings.assets_topic):
        assert sum(end for _, end in (await partition_bounds(reader, topic)).values()) > 0


async def produce_nonsense(settings: Settings) -> None:
    producer = make_producer(settings)
    try:
        await start(producer)
        await producer.send_and_wait(settings.notifications_topic, b"nonsense")
    finally:
        await let_go(producer)


async def test_what_is_forbidden_is_said_with_the_topic_and_the_right(kafka: GuardedKafka, settings: Settings) -> None:
    topic = settings.notifications_topic
    stranger = acting_as("stranger", kafka, settings)
    for asking in (ensure_topics(stranger, topic), partition_bounds(stranger, topic), topic_bounds(stranger, topic)):
        with pytest.raises(KafkaForbiddenError, match=rf"the user stranger look at the topic {topic} \(Describe\)"):
            await asking
    await kafka.allow("stranger", Resource.TOPIC, topic, Operation.DESCRIBE)
    with pytest.raises(KafkaForbiddenError, match=rf"the user stranger create the topic {topic}, which is missing \(Create\)"):
        await ensure_topics(stranger, topic)
    await ensure_topics(acting_as(ADMIN, kafka, settings), topic)
    await ensure_topics(stranger, topic)


async def test_who_may_create_one_topic_makes_that_one(kafka: GuardedKafka, settings: Settings) -> None:
    topic = settings.notifications_topic
    founder = acting_as("founder", kafka, settings)
    await kafka.allow("founder", Resource.TOPIC, topic, Operation.CREATE, Operation.DESCRIBE)
    await ensure_topics(founder, topic)
    assert len(await partition_bounds(founder, topic)) == settings.notifications_partitions


async def test_looking_at_a_topic_does_not_make_it(kafka: GuardedKafka, settings: Settings) -> None:
    admin = acting_as(ADMIN, kafka, settings)  # the broker makes topics by itself for who may create them
    assert await partition_bounds(admin, settings.events_topic) == {}
    with pytest.raises(NoSuchTopicError):
        await topic_bounds(admin, settings.events_topic)
    await ensure_topics(admin, settings.notifications_topic)
    assert await partition_bounds(admin, settings.events_topic) == {}


async def test_a_gateway_that_may_not_write_says_so(kafka: GuardedKafka, settings: Settings) -> None:
    topic = settings.notifications_topic
    await ensure_topics(acting_as(ADMIN, kafka, settings), topic)
    await kafka.allow("mute", Resource.TOPIC, topic, Operation.DESCRIBE)
    brief = acting_as("mute", kafka, settings).model_copy(update={"gateway_ack_timeout": 3})
    with capture_logs() as logs:
        async with Publisher(brief, Metrics(CollectorRegistry())) as publisher:
            with pytest.raises(NotDurableError):
                await publisher.publish("key", b"{}", [])
            assert "the user mute write to any topic (Write)" in logs[-1]["error"]
            await kafka.allow("mute", Resource.TOPIC, f"{topic}.other", Operation.WRITE)

            async def is_connected() -> bool:
                return await publisher.is_ready()

            await eventually(is_connected)
            with pytest.raises(NotDurableError, match="TopicAuthorizationFailedError"):
                await publisher.publish("key", b"{}", [])
    assert any(f"the user mute read or write the topic {topic}" in str(line.get("reason")) for line in logs)


async def test_doctor_says_which_topics_a_user_may_not_see(kafka: GuardedKafka, settings: Settings) -> None:
    await ensure_topics(acting_as(ADMIN, kafka, settings))
    await kafka.allow("blinkered", Resource.TOPIC, settings.events_topic, Operation.READ)
    nowhere = {CLOUD: Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix="http://127.0.0.1:1")}
    blinkered = acting_as("blinkered", kafka, settings).model_copy(update={"clouds": nowhere})
    found = [one async for one in Doctor(blinkered).findings() if one.check == "kafka"]
    assert [one.level for one in found] == [Level.WARN, Level.WARN, Level.OK, Level.WARN]
    assert all("look at the topic" in one.said for one in found if one.level is Level.WARN)
