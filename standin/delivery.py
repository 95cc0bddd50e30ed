"""Delivery: the stored bytes, at the URLs that describe them. Transformations are skipped, not carried out."""

import re
from mimetypes import guess_type
from urllib.parse import unquote, urlsplit

from aiohttp import web

from standin.account import Account
from standin.asset import DELIVERY_HOST, Asset, Name
from standin.errors import NotFoundError

_PATH = re.compile(r"/(?P<cloud>[^/]+)/(?P<resource_type>image|video|raw)/(?P<type>[a-z]+)/(?P<tail>.+)\Z")
_NOT_OF_THE_NAME = re.compile(r"(s--[\w-]+--|v\d+|[a-z]{1,3}_[^/]*)\Z")  # signature, version, transformation


class Delivery:
    """`GET /:cloud/:resource_type/:type/…`, for everybody, as the stand-in is for nobody but us."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.url = ""  # of the stand-in, once it listens

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve contents."""
        router.add_get("/{cloud}/{resource_type:image|video|raw}/{type:[a-z]+}/{tail:.+}", self._serve)

    def own(self, url: str) -> bytes | None:
        """Give what one of our delivery URLs leads to; nothing for all others."""
        parts = urlsplit(url)
        ours = parts.hostname == DELIVERY_HOST or (self.url and url.startswith(f"{self.url}/"))
        asset = self._asset(unquote(parts.path)) if ours else None
        return None if asset is None else self._account.content_of(asset)

    async def _serve(self, request: web.Request) -> web.Response:
        asset = self._asset(request.path)
        content = None if asset is None else self._account.content_of(asset)
        if asset is None or content is None:
            raise NotFoundError("Resource not found")
        name = f"a.{asset.content.format}" if asset.content.format else asset.public_id
        return web.Response(body=content, content_type=guess_type(name)[0] or "application/octet-stream")

    def _asset(self, path: str) -> Asset | None:
        """Take what may not be of the name from its front, part by part, until there is an asset of that name."""
        found = _PATH.match(path)
        if found is None or found["cloud"] != self._account.cloud:
            return None
        tail = found["tail"]
        while True:
            stem, dot, extension = tail.rpartition(".")
            for public_id in (tail, stem) if dot and "/" not in extension else (tail,):
                asset = self._account.find(Name(found["resource_type"], found["type"], public_id))
                if asset is not None:
                    return asset
            first, slash, tail = tail.partition("/")
            if not slash or not _NOT_OF_THE_NAME.match(first):
                return None
