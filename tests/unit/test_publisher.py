import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.publisher import NotDurableError, Publisher
from service.settings import load_settings
from service.telemetry import Metrics


async def publisher(**settings: Any) -> Publisher:
    return Publisher(
        load_settings(kafka_bootstrap="127.0.0.1:1", gateway_ack_timeout=0.2, **settings), Metrics(CollectorRegistry())
    )


async def test_without_a_connection_a_webhook_is_waited_with_and_then_not_durable() -> None:
    async with await publisher() as unconnected:
        with pytest.raises(NotDurableError, match="not_connected"):
            await unconnected.publish("key", b"value", [])
        assert not await unconnected.is_ready()


async def test_what_waits_is_bounded_and_let_go() -> None:
    async with await publisher(gateway_max_pending=10) as unconnected:
        waiting = asyncio.create_task(unconnected.publish("key", b"12345678", []))
        await asyncio.sleep(0)
        with pytest.raises(NotDurableError, match="too_much_pending"):
            await unconnected.publish("key", b"123", [])
        with pytest.raises(NotDurableError, match="not_connected"):
            await waiting
        with pytest.raises(NotDurableError, match="not_connected"):
            await unconnected.publish("key", b"1234567890", [])
