"""What a delivery URL says of its asset, for bodies that name it no other way."""

import re
from urllib.parse import unquote, urlsplit

_RESOURCE_TYPES = frozenset({"image", "video", "raw"})
# what follows the version; only of a raw file is the extension part of the public id
_AFTER_VERSION = re.compile(r"/v\d+/(?P<public_id>.+?)(?P<extension>\.\w+)?$")


def kind_of(url: str) -> tuple[str, str] | None:
    """Read resource type and delivery type off a URL, e.g. `https://res.cloudinary.com/<cloud>/image/upload/v1/a.png`.

    A private CDN's host names the cloud, so its path begins with the resource type. Gives None for any other URL.
    """
    try:
        parts = urlsplit(url).path.split("/")[1:]
    except ValueError:
        return None
    for start in (0, 1):
        if len(parts) > start + 2 and parts[start] in _RESOURCE_TYPES:
            return parts[start], parts[start + 1]
    return None


def public_id_of(url: str) -> str | None:
    """Read the public id off a URL that has a version, behind which it stands."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    if (found := _AFTER_VERSION.search(path)) is None:
        return None
    is_raw = "/raw/" in path[: found.start()] + "/"
    return found["public_id"] + (found["extension"] or "" if is_raw else "")
