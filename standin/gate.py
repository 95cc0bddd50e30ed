"""What stands before every call: whose cloud it is, who calls, how often; and how answers and errors look."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from aiohttp import web
from multidict import MultiMapping

from standin.auth import check_basic, check_cloud
from standin.errors import ApiError, BadRequestError, UnauthorizedError
from standin.limits import Limits
from standin.options import Options

PREFIX = "/v1_1/{cloud}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an API with Basic authentication: the names in its path, its query, its JSON body."""

    path: Mapping[str, str]
    query: MultiMapping[str]
    body: Mapping[str, Any]

    def number(self, name: str, default: int) -> int:
        """Read a whole number of the query; raises `BadRequestError`."""
        text = self.query.get(name, str(default))
        try:
            return int(text)
        except ValueError as error:
            raise BadRequestError(f"Invalid value {text} for parameter {name}") from error

    def ids(self, name: str) -> list[str]:
        """Read a list of the body, or of the query (`name[]`); raises `BadRequestError`."""
        ids = self.body.get(name) if name in self.body else self.query.getall(f"{name}[]", [])
        if isinstance(ids, str):
            return [ids]
        if not isinstance(ids, list) or not ids:
            raise BadRequestError(f"Missing required parameter - {name}")
        return [str(one) for one in ids]


Answer: TypeAlias = Mapping[str, Any]
Operation: TypeAlias = Callable[[Call], Answer | Awaitable[Answer]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Makes aiohttp's handlers of operations; `calls` counts those that were let in, by method and path template."""

    def __init__(self, options: Options, limits: Limits) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._options = options
        self._limits = limits

    def admit(self, operation: Operation, *, limited: bool = True) -> Handler:
        """Let in who is authenticated; `limited`: while there are calls left in this hour."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                check_cloud(request.match_info["cloud"], self._options)
                check_basic(request.headers.get("Authorization"), self._options)
            except UnauthorizedError as error:
                return _refused(error) if self._options.dialect.refuses_in_html else respond(said_of(error), error.status)
            body = await _json(request)
            try:
                if limited:
                    self._limits.take()
                self.count(request)
                answer = operation(Call(request.match_info, request.query, body))
                said, status = await answer if isinstance(answer, Awaitable) else answer, int(HTTPStatus.OK)
            except ApiError as error:
                said, status = said_of(error), error.status
            return respond(said, status, self._limits.headers() if limited else {})

        return handle

    def count(self, request: web.Request) -> None:
        """Count a call."""
        resource = request.match_info.route.resource
        template = "" if resource is None else resource.canonical
        self.calls[request.method, template.removeprefix(PREFIX)] += 1


def respond(said: Mapping[str, Any], status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(said), status=status, headers=headers, content_type="application/json")


def _refused(error: UnauthorizedError) -> web.Response:
    """Refuse as the servers before the API do."""
    page = f"<html>\n<head><title>{error.status} Authorization Required</title></head>\n<body>{error.message}</body>\n</html>\n"
    return web.Response(text=page, status=error.status, content_type="text/html")


def said_of(error: ApiError) -> dict[str, Any]:
    """Give the body of an error."""
    return {"error": {"message": error.message}}


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as JSON, as Cloudinary does, aiohttp's own too."""
    try:
        return await handler(request)
    except ApiError as error:
        return respond(said_of(error), error.status)
    except web.HTTPRequestEntityTooLarge:
        return respond({"error": {"message": "File size too large"}}, HTTPStatus.BAD_REQUEST)
    except web.HTTPException as error:
        return respond({"error": {"message": error.reason}}, error.status)


async def _json(request: web.Request) -> Mapping[str, Any]:
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)
    except ValueError as error:
        raise BadRequestError("The body is not JSON") from error
    if not isinstance(body, dict):
        raise BadRequestError("The body is not a JSON object")
    return body
