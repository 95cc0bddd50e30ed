"""aiokafka, as we use it: the one module that knows its options.

Its defaults would lose messages here (auto-commit, no idempotence, jumps to the end when an offset is gone), so clients are made
nowhere else.
"""

import asyncio
import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from service.errors import MediamirrorError
from service.settings import Settings

# The largest webhook and its headers.
MAX_RECORD_BYTES = 11 * 1024**2
_DAY_MS = 24 * 60 * 60 * 1000


class NoKafkaError(MediamirrorError):
    """No Kafka is configured. Set MEDIAMIRROR_KAFKA_BOOTSTRAP=host:port, or use `mediamirror up`, which runs one of its own."""

    exit_code = 2


class KafkaUnreachableError(MediamirrorError):
    """Kafka can't be reached at {bootstrap}: {reason}."""


def require_kafka(settings: Settings) -> str:
    """Give Kafka's bootstrap servers; raises `NoKafkaError` when none are configured."""
    if settings.kafka_bootstrap is None:
        raise NoKafkaError
    return settings.kafka_bootstrap


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
        max_request_size=MAX_RECORD_BYTES,
        compression_type=None if settings.kafka_compression == "none" else settings.kafka_compression,
        request_timeout_ms=int(settings.gateway_ack_timeout * 1000),
    )


def make_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Make a member of the mirror's group; positions are ours to set, and a lost one is an error, never a jump."""
    return AIOKafkaConsumer(
        **_connection(settings),
        group_id=settings.mirror_group,
        group_instance_id=settings.mirror_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=MAX_RECORD_BYTES,
        session_timeout_ms=30_000,
        heartbeat_interval_ms=3_000,
        request_timeout_ms=20_000,
    )


async def describe_cluster(settings: Settings) -> str:
    """Give the cluster's id; raises `KafkaUnreachableError`."""
    admin = await _admin(settings)
    try:
        description: dict[str, Any] = await admin.describe_cluster()
    except KafkaError as error:
        raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=error) from error
    finally:
        await admin.close()
    return str(description["cluster_id"])


async def partition_bounds(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Give the earliest offset and the next to be written of each partition."""
    admin = await _admin(settings)
    consumer = make_consumer(settings)  # joins no group, since it subscribes to nothing
    try:
        async with asyncio.timeout(15):
            ((described,), _) = await asyncio.gather(admin.describe_topics([topic]), consumer.start())
            partitions = [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
            consumer.assign(partitions)
            earliest, latest = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    except (KafkaError, TimeoutError) as error:
        raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=str(error) or "no answer") from error
    finally:
        await asyncio.gather(admin.close(), consumer.stop())
    return {partition.partition: (earliest[partition], latest[partition]) for partition in partitions}


async def ensure_topics(settings: Settings) -> None:
    """Create the topics that are not there; those that are stay as their owner made them."""
    topic = NewTopic(
        settings.notifications_topic,
        num_partitions=settings.notifications_partitions,
        replication_factor=settings.notifications_replication,
        topic_configs={
            "cleanup.policy": "delete",
            "max.message.bytes": str(MAX_RECORD_BYTES),
            "retention.ms": str(settings.notifications_retention * _DAY_MS if settings.notifications_retention >= 0 else -1),
        },
    )
    admin = await _admin(settings)
    try:
        response = await admin.create_topics([topic])
        for _name, code, *_rest in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error
    except KafkaError as error:
        raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=repr(error)) from error
    finally:
        await admin.close()


async def _admin(settings: Settings) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(**_connection(settings), request_timeout_ms=10_000)
    try:
        async with asyncio.timeout(15):
            await admin.start()
    except (KafkaConnectionError, KafkaError, TimeoutError) as error:
        await admin.close()
        raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=str(error) or "no answer") from error
    return admin
