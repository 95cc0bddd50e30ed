"""What a delivery URL says of its asset, for bodies that name it no other way."""

from urllib.parse import urlsplit

_RESOURCE_TYPES = frozenset({"image", "video", "raw"})


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
