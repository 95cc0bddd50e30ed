"""/livez, /readyz and /metrics, the same for every role."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web
from prometheus_client import exposition

from service.telemetry import Metrics

Check: TypeAlias = Callable[[], Awaitable[bool]]

_FRESH_SECONDS = 1.0


class Health:
    """Answers for one process; readiness asks each named check, at most once a second whoever asks.

    `warnings` says what is wrong though the process is ready: what no other process of its kind would do better.
    """

    def __init__(
        self,
        metrics: Metrics,
        checks: Mapping[str, Check],
        is_alive: Callable[[], bool] = lambda: True,
        warnings: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._metrics = metrics
        self._checks = checks
        self._is_alive = is_alive
        self._warnings = warnings
        self._asked_at = float("-inf")
        self._results: dict[str, bool] = {}

    def add_routes(self, app: web.Application) -> None:
        """Serve the three routes on `app`."""
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)

    async def _livez(self, _request: web.Request) -> web.Response:
        return livez(self._is_alive())

    async def _readyz(self, _request: web.Request) -> web.Response:
        if time.monotonic() - self._asked_at > _FRESH_SECONDS:
            self._results = {name: await check() for name, check in self._checks.items()}
            self._asked_at = time.monotonic()
        ready = all(self._results.values())
        states = {name: state() for name, state in self._metrics.states.items()}
        said: dict[str, object] = {"ready": ready, "checks": self._results, **states}
        if warnings := self._warnings():
            said["warnings"] = warnings
        return web.json_response(said, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        page = exposition.generate_latest(self._metrics.registry)
        return web.Response(body=page, headers={"Content-Type": exposition.CONTENT_TYPE_LATEST})


def livez(alive: bool) -> web.Response:  # all that it says
    """Say whether a process is alive."""
    return web.json_response({"alive": alive}, status=HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE)
