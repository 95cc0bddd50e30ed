"""The floor of the gateway: reads the body and awaits the same produce. No signature, no parsing, no metrics."""

import asyncio
from itertools import cycle

from aiohttp import web

from bench.notifications import CLOUD, record, upload
from service import supervisor
from service.http import serve
from service.kafka import ensure_topics, let_go, make_producer, start
from service.settings import Settings, load_settings

# As many keys as spread over all partitions, and the headers of one record for all.
_KEYS = [record(upload(number))[0] for number in range(1000)]
_HEADERS = record(upload(0))[2]


async def _serve(settings: Settings) -> None:
    await ensure_topics(settings)
    producer = make_producer(settings)
    await start(producer)
    topic, keys = settings.notifications_topic, cycle(_KEYS)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        await producer.send_and_wait(topic, body, key=next(keys), headers=_HEADERS)
        return web.Response(body=b'{"status":"accepted"}', content_type="application/json")

    app = web.Application(client_max_size=int(settings.gateway_max_body))
    app.router.add_post(f"/webhooks/cloudinary/{CLOUD}", receive)
    try:
        async with serve(app, settings.gateway_host, settings.gateway_port, settings.gateway_shutdown_timeout):
            await asyncio.Event().wait()
    finally:
        await let_go(producer)


if __name__ == "__main__":
    supervisor.run(_serve(load_settings()))
