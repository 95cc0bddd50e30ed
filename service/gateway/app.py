"""The gateway's HTTP servers: one for webhooks, one for who runs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion10
from aiohttp.typedefs import Handler

from service.connection import Bounds
from service.gateway.intake import Intake
from service.gateway.problem import problem
from service.gateway.refusals import Refusals
from service.health import Health, livez
from service.http import serve
from service.kafka import require_kafka
from service.publisher import Publisher
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)


class Gateway(NamedTuple):
    """Where a running gateway is."""

    url: str  # webhooks and /livez, for everybody
    admin: str  # /livez, /readyz and /metrics, for who runs it


@asynccontextmanager
async def run_gateway(settings: Settings, metrics: Metrics) -> AsyncIterator[Gateway]:
    """Serve webhooks. On leaving, stops accepting, then finishes what is in flight."""
    clouds = settings.require_clouds()
    require_kafka(settings)
    refusals = Refusals(metrics, clouds)
    bounds = Bounds(connections=settings.gateway_max_connections, header_seconds=settings.gateway_header_timeout)

    def count(reason: str) -> None:
        metrics.connections_ended.labels(reason).inc()

    async with Publisher(settings, metrics) as publisher:
        admin = web.Application()
        Health(metrics, {"kafka": publisher.is_ready}, warnings=refusals.warnings).add_routes(admin)
        app = make_app(settings, publisher, metrics, refusals)
        patience = settings.gateway_shutdown_timeout
        async with (
            serve(admin, settings.admin_host, _admin_port(settings), shutdown_timeout=1) as admin_url,
            serve(app, settings.gateway_host, settings.gateway_port, patience, bounds=bounds, count=count) as url,
        ):
            log.info("gateway listens", url=url, admin=admin_url, clouds=sorted(clouds))
            yield Gateway(url, admin_url)
    log.info("gateway stopped")


def _admin_port(settings: Settings) -> int:
    """Give any free port to one that has asked for any to be reached at, and for none of this kind."""
    anywhere = settings.gateway_port == 0 and "admin_port" not in settings.model_fields_set
    return 0 if anywhere else settings.admin_port


def make_app(settings: Settings, publisher: Publisher, metrics: Metrics, refusals: Refusals | None = None) -> web.Application:
    """Make the public application, without a server."""
    intake = Intake(settings, publisher, metrics, refusals)

    def add(resource: web.Resource, cloud: str | None = None) -> None:
        receive = partial(intake.receive, cloud=cloud) if cloud else intake.receive

        async def expect_continue(request: web.Request) -> web.StreamResponse | None:
            # A sender that asks before it sends is told "no" before it sends.
            if request.headers["Expect"].lower() != "100-continue":
                return problem(HTTPStatus.EXPECTATION_FAILED)
            if not intake.precheck(request, cloud):
                return await receive(request)
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
            return None

        resource.add_route("POST", receive, expect_handler=expect_continue)

    app = web.Application(middlewares=[_errors_as_problems])
    add(app.router.add_resource("/webhooks/cloudinary"))
    add(app.router.add_resource("/webhooks/cloudinary/{cloud}"))
    for cloud in settings.clouds:
        # Said in full as well: a path is found faster than a pattern.
        path = web.PlainResource(f"/webhooks/cloudinary/{cloud}")
        add(path, cloud)
        app.router.register_resource(path)
    app.router.add_get("/livez", _livez)
    return app


async def _livez(_request: web.Request) -> web.Response:
    return livez(alive=True)


@web.middleware
async def _errors_as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.version < HttpVersion10:
        return problem(HTTPStatus.BAD_REQUEST)
    try:
        return await handler(request)
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        return problem(HTTPStatus(error.status), headers={"Allow": allow} if allow else None)
    except Exception:
        log.exception("request failed", path=ascii(request.path))
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR)
