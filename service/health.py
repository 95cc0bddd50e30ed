"""/livez, /readyz and /metrics, the same for every role."""

import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web
from prometheus_client import exposition

from service.telemetry import Metrics

Check: TypeAlias = Callable[[], Awaitable[bool]]

_FRESH_SECONDS = 1.0


class Health:
    """Answers for one process; readiness asks each named check, at most once a second whoever asks."""

    def __init__(self, metrics: Metrics, checks: Mapping[str, Check], is_alive: Callable[[], bool] = lambda: True) -> None:
        self._metrics = metrics
        self._checks = checks
        self._is_alive = is_alive
        self._asked_at = float("-inf")
        self._results: dict[str, bool] = {}

    def add_routes(self, app: web.Application) -> None:
        """Serve the three routes on `app`."""
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)

    async def _livez(self, _request: web.Request) -> web.Response:
        alive = self._is_alive()
        return web.json_response({"alive": alive}, status=HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _readyz(self, _request: web.Request) -> web.Response:
        if time.monotonic() - self._asked_at > _FRESH_SECONDS:
            self._results = {name: await check() for name, check in self._checks.items()}
            self._asked_at = time.monotonic()
        ready = all(self._results.values())
        states = {name: state() for name, state in self._metrics.states.items()}
        return web.json_response(
            {"ready": ready, "checks": self._results, **states}, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        )

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        page = exposition.generate_latest(self._metrics.registry)
        return web.Response(body=page, headers={"Content-Type": exposition.CONTENT_TYPE_LATEST})
