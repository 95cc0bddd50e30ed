"""aiokafka, as we use it: the one module that knows its options.

Its defaults would lose messages here (auto-commit, no idempotence, jumps to the end when an offset is gone), so clients are made
nowhere else.
"""

import asyncio
import ssl
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from service.errors import MediamirrorError
from service.partitioner import partition_for
from service.settings import Settings

# The largest webhook and its headers.
MAX_RECORD_BYTES = 11 * 1024**2
# The largest record and why it could not be processed; service/dlq/letter.py keeps that short enough.
MAX_DEAD_LETTER_BYTES = MAX_RECORD_BYTES + 64 * 1024
_START_GRACE_SECONDS = 2.0
_STOP_SECONDS = 5.0
_LEADER_SECONDS = 15.0
_LEADER_POLL_SECONDS = 0.05
_DAY_MS = 24 * 60 * 60 * 1000
_UNKNOWN = UnknownTopicOrPartitionError.errno
_REFUSALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)

Client: TypeAlias = AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient


class NoKafkaError(MediamirrorError):
    """No Kafka is configured. Set MEDIAMIRROR_KAFKA_BOOTSTRAP=host:port, or use `mediamirror up`, which runs one of its own."""

    exit_code = 2


class KafkaUnreachableError(MediamirrorError):
    """Kafka can't be reached at {bootstrap}: {reason}."""


class KafkaForbiddenError(KafkaUnreachableError):
    """The Kafka at {bootstrap} does not let {who} {what}. Its ACLs must allow that (README, "Rights")."""


class NoSuchTopicError(MediamirrorError):
    """There is no topic {topic} on the Kafka at {bootstrap}. Each role makes the topics that it uses when it starts."""

    exit_code = 2


def require_kafka(settings: Settings) -> str:
    """Give Kafka's bootstrap servers; raises `NoKafkaError` when none are configured."""
    if settings.kafka_bootstrap is None:
        raise NoKafkaError
    return settings.kafka_bootstrap


def unusable(settings: Settings, error: Exception) -> KafkaUnreachableError:
    """Say in words what Kafka's error means: it can't be reached, or it forbids what we asked."""
    if isinstance(error, ClusterAuthorizationFailedError):  # told to a producer that may write to no topic at all
        return _forbidden(settings, "write to any topic (Write)")
    if isinstance(error, TopicAuthorizationFailedError):
        return _forbidden(settings, f"read or write the topic {error.args[0] if error.args else ''} (Read, Write)")
    if isinstance(error, GroupAuthorizationFailedError):
        return _forbidden(settings, f"join the consumer group {settings.mirror_group} (Read on the group)")
    return KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=str(error) or "no answer")


def _forbidden(settings: Settings, what: str) -> KafkaForbiddenError:
    who = f"the user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this client"
    return KafkaForbiddenError(bootstrap=settings.kafka_bootstrap, who=who, what=what)


def _connection(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": require_kafka(settings),
        "client_id": "mediamirror",
        "security_protocol": settings.kafka_security_protocol,
    }
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options


def make_producer(settings: Settings) -> AIOKafkaProducer:
    """Make a producer that acks when every in-sync replica has the record, and writes none twice."""
    return AIOKafkaProducer(
        **_connection(settings),
        acks="all",
        enable_idempotence=True,
        # concurrency forms the batches; lingering would only cap the rate at connections / linger
        linger_ms=0,
        max_batch_size=256 * 1024,
        max_request_size=MAX_DEAD_LETTER_BYTES,
        partitioner=partition_for,
        compression_type=None if settings.kafka_compression == "none" else settings.kafka_compression,
        request_timeout_ms=int(settings.gateway_ack_timeout * 1000),
    )


def make_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Make a member of the mirror's group; positions are ours to set, and a lost one is an error, never a jump."""
    return _consumer(settings, group_id=settings.mirror_group, group_instance_id=settings.mirror_instance_id)


def make_reader(settings: Settings) -> AIOKafkaConsumer:
    """Make a consumer of no group, which needs no right to any."""
    return _consumer(settings, group_id=None)


def _consumer(settings: Settings, **group: str | None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **_connection(settings),
        **group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        # what is read ahead of its turn is memory; a record larger than this comes all the same, alone
        max_partition_fetch_bytes=256 * 1024,
        fetch_max_bytes=4 * 1024**2,
        session_timeout_ms=30_000,
        heartbeat_interval_ms=3_000,
        # nothing is fetched of a partition while a large record is applied, which takes minutes
        max_poll_interval_ms=30 * 60_000,
        request_timeout_ms=20_000,
        # partitions that a topic gets later are ours within this
        metadata_max_age_ms=30_000,
    )


async def start(client: Client) -> None:
    """Start a client. Who is cancelled meanwhile waits a little for it: cancelled itself, it would leave a connection open."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting], timeout=_START_GRACE_SECONDS)
        if not starting.cancel() and not starting.cancelled():
            starting.exception()  # seen
        raise


async def let_go(client: Client, *, patience: float = _STOP_SECONDS) -> BaseException | None:
    """End a client, whether it started or not; gives what kept it from ending well within `patience` seconds.

    A producer sends what it holds first, a consumer leaves its group.
    """
    task = asyncio.current_task()
    told = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(patience):
            await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
    except (TimeoutError, KafkaError) as error:
        return error
    except asyncio.CancelledError as error:
        # aiokafka awaits tasks that it has cancelled itself, and passes their end on: nobody has told us to end
        if task is None or task.cancelling() > told:
            raise
        return error
    finally:
        # what stops halfway leaves these running, and does nothing when it is told a second time
        if isinstance(client, AIOKafkaProducer):
            await client._sender.close()  # noqa: SLF001
        await (client.client if isinstance(client, AIOKafkaProducer) else client._client).close()  # noqa: SLF001
    return None


async def describe_cluster(settings: Settings) -> str:
    """Give the cluster's id; raises `KafkaUnreachableError`."""
    admin = await _admin(settings)
    try:
        description: dict[str, Any] = await admin.describe_cluster()
    except KafkaError as error:
        raise unusable(settings, error) from error
    finally:
        await let_go(admin)
    return str(description["cluster_id"])


async def partition_bounds(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Give the earliest offset and the next to be written of each partition; none of a topic that is not there."""
    admin = await _admin(settings)
    consumer = make_reader(settings)
    try:
        async with asyncio.timeout(15):
            described = (await _look(settings, admin, [topic]))[topic]
            await start(consumer)
            partitions = [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
            if not partitions:
                return {}
            consumer.assign(partitions)
            earliest, latest = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    except (KafkaError, TimeoutError) as error:
        raise unusable(settings, error) from error
    finally:
        await asyncio.gather(let_go(admin), let_go(consumer))
    return {partition.partition: (earliest[partition], latest[partition]) for partition in partitions}


async def topic_bounds(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Give the bounds of each partition of a topic that must be there; raises `NoSuchTopicError`."""
    bounds = await partition_bounds(settings, topic)
    if not bounds:
        raise NoSuchTopicError(topic=topic, bootstrap=settings.kafka_bootstrap)
    return bounds


async def offsets_at(settings: Settings, topic: str, partitions: Iterable[int], moment: datetime) -> dict[int, int]:
    """Give, by partition, the first offset whose record came at `moment` or later; nothing for a partition without one."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    consumer = make_reader(settings)
    try:
        async with asyncio.timeout(15):
            await start(consumer)
            consumer.assign(wanted := [TopicPartition(topic, one) for one in partitions])
            found = await consumer.offsets_for_times(dict.fromkeys(wanted, milliseconds))
    except (KafkaError, TimeoutError) as error:
        raise unusable(settings, error) from error
    finally:
        await let_go(consumer)
    return {partition.partition: at.offset for partition, at in found.items() if at is not None}


async def ensure_topics(settings: Settings, *names: str) -> None:
    """Create those of these topics that are not there, of all of ours if none is named; the others stay as their owner made them.

    They are looked at first: where all are there, nobody needs the right to create any. Returns once all of their partitions
    have leaders: a consumer that joins before is given none of them. Raises `KafkaUnreachableError`, or `KafkaForbiddenError`
    for want of a right.
    """
    ours = {topic.name: topic for topic in _topics(settings)}
    wanted = list(names or ours)
    admin = await _admin(settings)
    try:
        async with asyncio.timeout(_LEADER_SECONDS):
            missing = [name for name, topic in (await _look(settings, admin, wanted)).items() if topic["error_code"] == _UNKNOWN]
            if missing:
                await _create(settings, admin, [ours[name] for name in missing])
            # Kafka tells nobody when it has chosen leaders
            while not all(map(_is_led, (await _look(settings, admin, wanted)).values())):  # noqa: ASYNC110
                await asyncio.sleep(_LEADER_POLL_SECONDS)
    except (KafkaError, TimeoutError) as error:
        raise unusable(settings, error) from error
    finally:
        await let_go(admin)


async def _look(settings: Settings, admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Describe topics, by name. `describe_topics` would create those that are missing, where the broker does that by itself."""
    request = MetadataRequest(list(names), allow_auto_topic_creation=False)
    described = (await admin._send_request(request)).to_object()["topics"]  # noqa: SLF001
    if hidden := [topic["topic"] for topic in described if topic["error_code"] == TopicAuthorizationFailedError.errno]:
        raise _forbidden(settings, f"look at the topic {', '.join(hidden)} (Describe)")
    return {topic["topic"]: topic for topic in described}


async def _create(settings: Settings, admin: AIOKafkaAdminClient, topics: Collection[NewTopic]) -> None:
    response = await admin.create_topics(list(topics))
    codes = {name: for_code(code) for name, code, *_rest in response.topic_errors if code}
    if refused := [name for name, error in codes.items() if error in _REFUSALS]:
        raise _forbidden(settings, f"create the topic {', '.join(refused)}, which is missing (Create)")
    for name, error in codes.items():
        if error is not TopicAlreadyExistsError:
            raise error(name)


def _is_led(topic: Mapping[str, Any]) -> bool:
    return topic["error_code"] == 0 and bool(topic["partitions"]) and all(one["leader"] >= 0 for one in topic["partitions"])


def _topics(settings: Settings) -> list[NewTopic]:
    days = settings.notifications_retention
    keep_all = -1
    return [
        _topic(settings.notifications_topic, settings, settings.notifications_partitions, retention_days=days),
        _topic(settings.dead_letter_topic, settings, 1, record_bytes=MAX_DEAD_LETTER_BYTES, retention_days=keep_all),
        _topic(settings.events_topic, settings, settings.events_partitions, retention_days=settings.events_retention),
        _topic(settings.assets_topic, settings, settings.events_partitions, retention_days=keep_all, policy="compact"),
    ]


def _topic(
    name: str,
    settings: Settings,
    partitions: int,
    *,
    retention_days: int,
    record_bytes: int = MAX_RECORD_BYTES,
    policy: Literal["delete", "compact"] = "delete",
) -> NewTopic:
    return NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=settings.notifications_replication,
        topic_configs={
            "cleanup.policy": policy,
            "max.message.bytes": str(record_bytes),
            "retention.ms": str(retention_days * _DAY_MS if retention_days >= 0 else -1),
        },
    )


async def _admin(settings: Settings) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(**_connection(settings), request_timeout_ms=10_000)
    try:
        async with asyncio.timeout(15):
            await start(admin)
    except BaseException as error:
        await let_go(admin)
        if isinstance(error, (KafkaError, TimeoutError)):
            raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=str(error) or "no answer") from error
        raise
    return admin
