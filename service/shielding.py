"""Keeps the official SDK from making the environment its configuration, one for the whole process.

It does so as it is imported, and breaks off when CLOUDINARY_URL is none. Ours is in `service.settings`, by cloud. How this
machine reaches Cloudinary (`CLOUDINARY_URL=…?api_proxy=http://proxy:3128`) is left to the SDK.
"""

import os
from urllib.parse import parse_qsl

_REACHING = ("api_proxy", "disable_tcp_keep_alive")


def shield_sdk() -> None:
    """Import the SDK as if nothing were configured; to be called before anybody else does."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("CLOUDINARY_")}
    for name in hidden:
        del os.environ[name]
    try:
        import cloudinary  # noqa: PLC0415  # here and not before
    finally:
        os.environ.update(hidden)
    said = dict(parse_qsl(hidden.get("CLOUDINARY_URL", "").partition("?")[2]))
    said |= {name.removeprefix("CLOUDINARY_").lower(): value for name, value in hidden.items()}
    cloudinary.config(**{name: said[name] for name in _REACHING if name in said})
