"""The faults that API calls meet, as an aiohttp middleware."""

import asyncio
import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from standin.faults import ApiFault, Faults, Kind

_OWN = "/standin/"  # the control endpoints meet none


class Middleware(Protocol):
    """What aiohttp calls around a handler."""

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request."""


def make_middleware(faults: Faults) -> Middleware:
    """Put it outermost, so that a call carried out is carried out to its end."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = None if request.path.startswith(_OWN) else faults.for_call(request.method, request.path)
        match fault:
            case None:
                return await handler(request)
            case ApiFault(kind=Kind.REFUSE):
                return _hang_up(request)
            case ApiFault(kind=Kind.ANSWER):
                await request.read()  # a client that is still sending would see a broken pipe
                await asyncio.sleep(fault.seconds)
                return _ordered(fault, faults.clock())
        answer = await _carried_out(handler, request)
        await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.LOSE_ANSWER:
            return _hang_up(request)
        if fault.kind is Kind.BREAK_OFF:
            return await _half(request, answer)
        return answer

    return middleware


async def _carried_out(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:  # an answer too, such as aiohttp's own 404
        return web.Response(status=error.status, text=error.text, headers={"Content-Type": error.content_type})


def _ordered(fault: ApiFault, now: float) -> web.Response:
    headers = {}
    if fault.resets_in is not None:
        resets_at = datetime.fromtimestamp(math.ceil(now + fault.resets_in), UTC)
        headers = {
            "X-FeatureRateLimit-Limit": "500",
            "X-FeatureRateLimit-Remaining": "0",
            "X-FeatureRateLimit-Reset": format_datetime(resets_at, usegmt=True),
        }
    if isinstance(fault.body, str):
        return web.Response(status=fault.status, text=fault.body, content_type="text/html", headers=headers)
    return web.json_response(fault.body, status=fault.status, headers=headers)


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # for aiohttp; nobody is there to read it


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    half.content_length = len(body) + 1
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # unlike abort(), after what was written
    return half
