"""From a request to a record on Kafka: detect, verify, parse, hand over."""

import time
from http import HTTPStatus

import structlog
from aiohttp import web

from schemas.json import NotAnObjectError
from service.gateway.problem import problem
from service.gateway.record import Record, Recorder
from service.gateway.signature import RefusedSignatureError, read_claim
from service.publisher import NotDurableError, Publisher
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

# A sender that retries sooner than Kafka comes back only adds load; Cloudinary waits for minutes anyway.
_RETRY_AFTER = {"Retry-After": "30"}


class Intake:
    """Answers webhooks: 200 once a record is durable, and never else."""

    def __init__(self, settings: Settings, publisher: Publisher, metrics: Metrics) -> None:
        self._recorder = Recorder(settings)
        self._max_body = int(settings.gateway_max_body)
        self._publisher = publisher
        self._metrics = metrics
        self._accepted = {cloud: metrics.webhooks.labels(cloud, "accepted", "") for cloud in self._recorder.clouds}

    async def receive(self, request: web.Request, cloud: str | None = None) -> web.Response:
        """Handle `POST /webhooks/cloudinary[/{cloud}]`, or that of one cloud's own path."""
        cloud = cloud or request.match_info.get("cloud") or self._only_cloud()
        if cloud not in self._recorder.clouds:
            return self._refuse("", HTTPStatus.NOT_FOUND, "unknown_cloud")
        if is_too_large(request, self._max_body):
            return self._refuse(cloud, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")
        started = time.perf_counter()
        try:
            claim = read_claim(
                request.headers.get("X-Cld-Signature"),
                request.headers.get("X-Cld-Timestamp"),
                has_v2="X-Cld-Signature_v2" in request.headers,
                now=time.time(),
                policy=self._recorder.policy,
            )
            body = await request.read()
            record = self._recorder.record(cloud, body, claim)
        except RefusedSignatureError as refused:
            log.warning("webhook refused", cloud=cloud, reason=refused.reason, detail=str(refused), remote=request.remote)
            return self._refuse(cloud, HTTPStatus.UNAUTHORIZED, refused.reason)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(cloud, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")
        except NotAnObjectError:
            log.error("signed webhook is not a JSON object", cloud=cloud, bytes=len(body), start=body[:80])
            return self._refuse(cloud, HTTPStatus.BAD_REQUEST, "not_an_object")
        return await self._publish(cloud, record, started)

    async def _publish(self, cloud: str, record: Record, started: float) -> web.Response:
        try:
            await self._publisher.publish(record.key, record.value, record.headers)
        except NotDurableError as not_durable:
            log.error("webhook not durable, answered 503", cloud=cloud, reason=not_durable.reason)
            return self._refuse(cloud, HTTPStatus.SERVICE_UNAVAILABLE, not_durable.reason, headers=_RETRY_AFTER)
        self._accepted[cloud].inc()
        self._metrics.webhook_seconds.observe(time.perf_counter() - started)
        return web.Response(body=b'{"status":"accepted"}', content_type="application/json")

    def _only_cloud(self) -> str:
        clouds = self._recorder.clouds
        return next(iter(clouds)) if len(clouds) == 1 else ""

    def _refuse(self, cloud: str, status: HTTPStatus, reason: str, headers: dict[str, str] | None = None) -> web.Response:
        self._metrics.webhooks.labels(cloud, str(status.value), reason).inc()
        return problem(status, headers=headers)


def is_too_large(request: web.BaseRequest, limit: int) -> bool:
    """Tell by the length announced, before a byte of the body is read."""
    length = request.content_length
    return length is not None and length > limit
