"""From a request to a record on Kafka: detect, verify, parse, hand over."""

import time
from http import HTTPStatus

import structlog
from aiohttp import web

from service.gateway.bodies import Bodies, BodyError, HungUpError, TooLargeBodyError
from service.gateway.problem import problem
from service.gateway.record import Record, Recorder
from service.gateway.refusals import Refusals
from service.gateway.signature import Claim, RefusedSignatureError, hashing, read_claim
from service.publisher import NotDurableError, Publisher, RefusedByKafkaError
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

# A sender that retries sooner than Kafka comes back only adds load; Cloudinary waits for minutes anyway.
_RETRY_AFTER = {"Retry-After": "30"}


class _RefusedError(Exception):
    """A request that need not be read to know the answer."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Intake:
    """Answers webhooks: 200 once a record is durable, and never else."""

    def __init__(self, settings: Settings, publisher: Publisher, metrics: Metrics, refusals: Refusals | None = None) -> None:
        self._recorder = Recorder(settings)
        self._max_body = int(settings.gateway_max_body)
        self._bodies = Bodies(
            most=int(settings.gateway_max_unverified),
            most_each=self._max_body,
            seconds=settings.gateway_body_timeout,
            gauge=metrics.unverified_bytes,
        )
        self._publisher = publisher
        self._metrics = metrics
        self._refusals = refusals or Refusals(metrics, self._recorder.clouds)
        self._accepted = {cloud: metrics.webhooks.labels(cloud, "accepted", "") for cloud in self._recorder.clouds}

    async def receive(self, request: web.Request, cloud: str | None = None) -> web.Response:
        """Handle `POST /webhooks/cloudinary[/{cloud}]`, or that of one cloud's own path."""
        cloud = cloud or request.match_info.get("cloud") or self._only_cloud()
        started = time.perf_counter()
        try:
            claim = self._claim_of(request, cloud)
            record = await self._read(request, cloud, claim)
        except RefusedSignatureError as refused:
            log.warning("webhook refused", cloud=cloud, reason=refused.reason, detail=str(refused), remote=request.remote)
            self._refusals.refused(cloud, refused.reason)
            return self._refuse(cloud, HTTPStatus.UNAUTHORIZED, refused.reason)
        except (_RefusedError, BodyError) as refused:
            # It leads to the request, and the request's body to it: memory that only the garbage collector would find.
            refused.__traceback__ = None
            headers = _RETRY_AFTER if refused.status is HTTPStatus.SERVICE_UNAVAILABLE else None
            return self._refuse(cloud, refused.status, refused.reason, headers=headers)
        return await self._publish(cloud, record, started)

    def precheck(self, request: web.Request, cloud: str | None = None) -> bool:
        """Tell whether the body of a request is wanted: whether its head alone doesn't decide the answer."""
        try:
            self._claim_of(request, cloud or request.match_info.get("cloud") or self._only_cloud())
        except (_RefusedError, RefusedSignatureError):
            return False
        return True

    def _claim_of(self, request: web.Request, cloud: str) -> Claim:
        """Check what can be checked before a byte of the body is read."""
        if cloud not in self._recorder.clouds:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "unknown_cloud")
        headers = request.headers
        # What Cloudinary signs is what it sends, and it compresses nothing.
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content_encoding")
        length = request.content_length
        if length is not None and length > self._max_body:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")
        return read_claim(
            headers.get("X-Cld-Signature"),
            headers.get("X-Cld-Timestamp"),
            has_v2="X-Cld-Signature_v2" in headers,
            now=time.time(),
            policy=self._recorder.policy,
        )

    async def _read(self, request: web.Request, cloud: str, claim: Claim) -> Record:
        """Give the record; raises `RefusedSignatureError` or a `BodyError`."""
        content = request.content
        if content.is_eof():  # it came with its head, as most do
            try:
                whole = content.read_nowait()
            except ConnectionError:
                raise HungUpError from None
            if len(whole) > self._max_body:
                raise TooLargeBodyError
            return self._recorder.record(cloud, whole, claim)
        hashed = hashing(claim)
        body = await self._bodies.read(content, request.content_length, request.remote, hashed.update)
        return self._recorder.record(cloud, body, claim, hashed)

    async def _publish(self, cloud: str, record: Record, started: float) -> web.Response:
        try:
            await self._publisher.publish(record.key, record.value, record.headers)
        except RefusedByKafkaError as refused:
            log.error("kafka takes no such record", cloud=cloud, bytes=len(record.value), key=record.key, reason=refused.reason)
            return self._refuse(cloud, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, refused.reason)
        except NotDurableError as not_durable:
            log.error("webhook not durable, answered 503", cloud=cloud, reason=not_durable.reason)
            return self._refuse(cloud, HTTPStatus.SERVICE_UNAVAILABLE, not_durable.reason, headers=_RETRY_AFTER)
        if record.is_object:
            self._accepted[cloud].inc()
        else:
            log.error("signed webhook is not a JSON object, kept", cloud=cloud, key=record.key, bytes=len(record.value))
            self._metrics.webhooks.labels(cloud, "accepted", "not_an_object").inc()
        self._refusals.accepted(cloud)
        self._metrics.webhook_seconds.observe(time.perf_counter() - started)
        return web.Response(body=b'{"status":"accepted"}', content_type="application/json")

    def _only_cloud(self) -> str:
        clouds = self._recorder.clouds
        return next(iter(clouds)) if len(clouds) == 1 else ""

    def _refuse(self, cloud: str, status: HTTPStatus, reason: str, headers: dict[str, str] | None = None) -> web.Response:
        known = cloud if cloud in self._recorder.clouds else ""
        self._metrics.webhooks.labels(known, str(status.value), reason).inc()
        return problem(status, headers=headers)
