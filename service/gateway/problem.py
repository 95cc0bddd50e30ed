"""Errors as RFC 9457 problems that tell an attacker nothing."""

from http import HTTPStatus

import orjson
from aiohttp import web


def problem(status: HTTPStatus, *, headers: dict[str, str] | None = None) -> web.Response:
    """Make the answer: status and standard phrase, no detail."""
    return web.Response(
        status=status,
        body=orjson.dumps({"type": "about:blank", "title": status.phrase, "status": status.value}),
        content_type="application/problem+json",
        headers=headers,
    )
