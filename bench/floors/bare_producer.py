"""The limit of the producer: how many records a second one process awaits, with so many in flight, and nothing else.

`python -m bench.floors.bare_producer IN_FLIGHT SECONDS OUTCOME` writes `{"records": …, "rate": …, "cpu_seconds": …}`.
"""

import asyncio
import sys
import time
from itertools import cycle
from pathlib import Path

import orjson

from bench.notifications import record, upload
from service import supervisor
from service.kafka import ensure_topics, let_go, make_producer, start
from service.settings import Settings, load_settings

_RECORDS = 10_000


async def _produce(settings: Settings, in_flight: int, seconds: float, outcome: Path) -> None:
    records = cycle([record(upload(number)) for number in range(_RECORDS)])
    await ensure_topics(settings)
    producer = make_producer(settings)
    await start(producer)
    topic, sent = settings.notifications_topic, 0
    began, cpu = time.perf_counter(), time.process_time()
    end = began + seconds

    async def send() -> None:
        nonlocal sent
        while time.perf_counter() < end:
            key, value, headers = next(records)
            await producer.send_and_wait(topic, value, key=key, headers=headers)
            sent += 1

    try:
        await asyncio.gather(*(send() for _ in range(in_flight)))
    finally:
        await let_go(producer)
    rate = sent / (time.perf_counter() - began)
    result = {"records": sent, "rate": rate, "cpu_seconds": time.process_time() - cpu}
    outcome.write_bytes(orjson.dumps(result))


if __name__ == "__main__":
    supervisor.run(_produce(load_settings(), int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
