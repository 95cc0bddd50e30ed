"""The official SDK, unmodified, pointed at a stand-in. It is synchronous, so each call has a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import cloudinary.api_client.call_api
import cloudinary.uploader

from standin.server import Options, Standin, run_standin


class Sdk:
    """`await sdk(cloudinary.api.ping)`."""

    def __init__(self, standin: Standin, **credentials: Any) -> None:
        self._options = {
            "cloud_name": standin.cloud,
            "api_key": standin.key,
            "api_secret": standin.secret,
            "upload_prefix": standin.url,
            **credentials,
        }

    async def __call__(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(partial(function, *args, **self._options, **options))


@asynccontextmanager
async def standin_and_sdk(**options: Any) -> AsyncIterator[tuple[Standin, Sdk]]:
    async with run_standin(Options(**options)) as standin:
        try:
            yield standin, Sdk(standin)
        finally:
            close_connections()


def close_connections() -> None:
    """The SDK keeps its connections for the process; our client may have put its own connector in front of them."""
    for module in (cloudinary.uploader, cloudinary.api_client.call_api):
        getattr(module._http, "_original", module._http).clear()
