"""The gateway's HTTP server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from service.gateway.intake import Intake, is_too_large
from service.gateway.problem import problem
from service.health import Health
from service.http import serve
from service.kafka import require_kafka
from service.publisher import Publisher
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)


@asynccontextmanager
async def run_gateway(settings: Settings, metrics: Metrics) -> AsyncIterator[str]:
    """Serve webhooks; gives the URL. On leaving, stops accepting, then finishes what is in flight."""
    settings.require_clouds()
    require_kafka(settings)
    async with Publisher(settings, metrics) as publisher:
        app = make_app(settings, publisher, metrics)
        async with serve(app, settings.gateway_host, settings.gateway_port, settings.gateway_shutdown_timeout) as url:
            log.info("gateway listens", url=url, clouds=sorted(settings.clouds))
            yield url
    log.info("gateway stopped")


def make_app(settings: Settings, publisher: Publisher, metrics: Metrics) -> web.Application:
    """Make the application, without a server."""
    limit = int(settings.gateway_max_body)
    intake = Intake(settings, publisher, metrics)

    def add(resource: web.Resource, receive: Handler) -> None:
        async def expect_continue(request: web.Request) -> web.StreamResponse | None:
            # A sender that asks before it sends is told "no" before it sends.
            if is_too_large(request, limit):
                return await receive(request)
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
            return None

        resource.add_route("POST", receive, expect_handler=expect_continue)

    app = web.Application(middlewares=[_errors_as_problems], client_max_size=limit)
    add(app.router.add_resource("/webhooks/cloudinary"), intake.receive)
    add(app.router.add_resource("/webhooks/cloudinary/{cloud}"), intake.receive)
    for cloud in settings.clouds:
        # Said in full as well: a path is found faster than a pattern.
        path = web.PlainResource(f"/webhooks/cloudinary/{cloud}")
        add(path, partial(intake.receive, cloud=cloud))
        app.router.register_resource(path)
    Health(metrics, {"kafka": publisher.is_ready}).add_routes(app)
    return app


@web.middleware
async def _errors_as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        return problem(HTTPStatus(error.status), headers={"Allow": allow} if allow else None)
    except Exception:
        log.exception("request failed", path=request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR)
