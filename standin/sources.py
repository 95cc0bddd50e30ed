"""Where an upload's bytes come from: the call itself, a data URI, or another server."""

import base64
import binascii
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp
from aiohttp import web

from standin.delivery import Delivery
from standin.errors import BadRequestError
from standin.options import Options

_CHUNK = 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class Source(NamedTuple):
    """A file and what it is called, if it has a name."""

    content: bytes
    filename: str | None = None


class Sources:
    """Reads files; what the account itself delivers is read from the store."""

    def __init__(self, options: Options, delivery: Delivery) -> None:
        self._options = options
        self._delivery = delivery

    async def read(self, file: str | bytes | bytearray | web.FileField | None) -> Source:
        """Read the form's field `file`; raises `BadRequestError` when there is none to be had."""
        match file:
            case web.FileField():
                return self._checked(Source(file.file.read(), PurePosixPath(file.filename).name))
            case bytes() | bytearray():
                return self._checked(Source(bytes(file)))
            case str() if file.startswith("data:"):
                return self._checked(Source(_data_of(file)))
            case str() if file.startswith(("http://", "https://")):
                return await self._fetch(file)
            case None | "":
                raise BadRequestError("Missing required parameter - file")
            case _:
                raise BadRequestError(f"Unsupported source URL: {file[:200]}")

    async def _fetch(self, url: str) -> Source:
        filename = PurePosixPath(urlsplit(url).path).name or None
        if (content := self._delivery.own(url)) is not None:
            return Source(content, filename)
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.get(url, headers={"User-Agent": "Mozilla/5.0 (compatible; Cloudinary/1.0)"}) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise BadRequestError(f"Error in loading {url} - {response.status} {response.reason}")
                content = b""
                async for chunk in response.content.iter_chunked(_CHUNK):
                    content += chunk
                    self._checked(Source(content))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise BadRequestError(f"Error in loading {url} - {str(error) or type(error).__name__}") from error
        return self._checked(Source(content, filename))

    def _checked(self, source: Source) -> Source:
        if len(source.content) > self._options.max_upload:
            raise BadRequestError(f"File size too large. Maximum is {self._options.max_upload}.")
        if not source.content:
            raise BadRequestError("Empty file")
        return source


def _data_of(uri: str) -> bytes:
    header, comma, data = uri.partition(",")
    try:
        if not comma:
            raise BadRequestError("Invalid data URI")
        return base64.b64decode(data, validate=True) if header.endswith(";base64") else unquote_to_bytes(data)
    except binascii.Error as error:
        raise BadRequestError("Invalid data URI") from error
