"""Beneath the SDK: the HTTP exchange that it hides.

Its answers lack the `Date` header, its exceptions lack the status and every header, and 423 and 502 come as a bare `Exception`.
So a connector of ours stands where its modules keep their connection pool. Within `Exchange.run` it sends by the pool given and
keeps what came back; for whoever else uses the SDK in this process nothing changes.
"""

import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import cloudinary
import orjson
from cloudinary import uploader, utils
from cloudinary.api_client import call_api as admin
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProxyError

_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TITLE_WITHIN = 4096  # bytes
_CONNECT_SECONDS = 10.0  # at most: who takes no connection by then takes none

_here = threading.local()


class Connections:
    """Connections as the SDK makes them (its certificates, its keep-alive, its proxy), for so many threads.

    Nothing is repeated by itself: a POST that took effect before its connection broke would take effect twice.
    """

    def __init__(self, threads: int) -> None:
        install()
        self._open: WeakSet[HTTPConnection] = WeakSet()
        options = {**cloudinary.CERT_KWARGS, "maxsize": threads, "retries": False}
        self._pool: PoolManager = utils.get_http_connector(cloudinary.config(), options)
        self._pool.pool_classes_by_scheme = {
            scheme: type(pool.__name__, (pool,), {"ConnectionCls": self._known(pool.ConnectionCls)})
            for scheme, pool in self._pool.pool_classes_by_scheme.items()
        }

    def _known(self, base: type[HTTPConnection]) -> type[HTTPConnection]:
        opened = self._open

        def connect(connection: HTTPConnection) -> None:
            base.connect(connection)
            opened.add(connection)

        return type(base.__name__, (base,), {"connect": connect})

    def request(self, timeout: float, **request: Any) -> BaseHTTPResponse:  # noqa: ANN401  # as the SDK asks
        """Send; `timeout` in seconds, for each time that something is waited for."""
        return self._pool.request(timeout=Timeout(connect=min(timeout, _CONNECT_SECONDS), read=timeout), **request)

    def cut(self) -> None:
        """End every connection, so that the threads which wait for an answer need not."""
        for connection in list(self._open):
            with suppress(OSError, AttributeError):  # it has ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections that rest."""
        self._pool.clear()


def install() -> None:
    """Put our connector where the SDK has its own, once."""
    for module in (admin, uploader):
        if not isinstance(module._http, _Connector):  # noqa: SLF001  # the SDK offers no other way
            module._http = _Connector(module._http)  # noqa: SLF001


class Exchange:
    """One call of the SDK's, and what was heard over HTTP: that of its last request, if there were several."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.status: int | None = None  # None: no answer
        self.headers: Mapping[str, str] = {}  # names without regard to case
        self.unsent = False  # no connection could be made, so nothing can have taken effect
        self.failure: Exception | None = None  # why there is no answer
        self._body = b""

    def run(self, function: Callable[..., Any], *args: object, **options: object) -> dict[str, Any]:
        """Call a function of the SDK's in this thread."""
        _here.exchange = self
        try:
            return dict(function(*args, **options))
        finally:
            del _here.exchange

    def said(self) -> str | None:
        """Give the message of the error that was answered; None when the answer was no error of the API's form."""
        try:
            error = orjson.loads(self._body)["error"]
        except (ValueError, KeyError, TypeError):
            return None
        if not error:
            return None
        return str(error.get("message", error)) if isinstance(error, dict) else str(error)

    def title(self) -> str | None:
        """Give the title of the page that was answered instead, if it was one."""
        found = _TITLE.search(self._body[:_TITLE_WITHIN])
        return " ".join(found[1].decode(errors="replace").split()) or None if found else None

    def request(self, **request: Any) -> BaseHTTPResponse:  # noqa: ANN401  # as the SDK asks
        """Send, and keep what comes back."""
        self.status, self.headers, self._body, self.failure = None, {}, b"", None
        try:
            response = self._connections.request(**request)
        except (NewConnectionError, NameResolutionError, ConnectTimeoutError, ProxyError) as error:
            self.unsent, self.failure = True, error
            raise
        except Exception as error:
            self.unsent, self.failure = False, error
            raise
        self.status, self.headers, self._body = response.status, response.headers, response.data
        return response


class _Connector:
    """Sends by the exchange of this thread, or as the SDK would have."""

    def __init__(self, original: PoolManager) -> None:
        self._original = original

    def request(self, **request: Any) -> BaseHTTPResponse:  # noqa: ANN401  # as the SDK asks
        exchange: Exchange | None = getattr(_here, "exchange", None)
        return self._original.request(**request) if exchange is None else exchange.request(**request)
