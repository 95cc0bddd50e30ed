"""What the stand-in can tell of a file by its first bytes."""

import struct
from typing import NamedTuple

# Markers of frame headers, the beginnings of segments that say height and width.
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_MARKER = b"\xff"


class FileKind(NamedTuple):
    """A resource type, and what is known beside it; raw files have no format."""

    resource_type: str
    format: str | None = None
    width: int | None = None
    height: int | None = None
    pages: int | None = None


def kind_of(content: bytes) -> FileKind:
    """Look at the signature, and for pixels in the headers of PNG, GIF and JPEG."""
    try:
        return _with_pixels(content) or _without_pixels(content)
    except struct.error:  # the header breaks off
        return FileKind("raw")


def _with_pixels(content: bytes) -> FileKind | None:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return FileKind("image", "png", *struct.unpack_from(">II", content, 16))
    if content.startswith((b"GIF87a", b"GIF89a")):
        return FileKind("image", "gif", *struct.unpack_from("<HH", content, 6))
    if content.startswith(b"\xff\xd8\xff"):
        return FileKind("image", "jpg", *_pixels_of_jpeg(content))
    return None


def _without_pixels(content: bytes) -> FileKind:
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return FileKind("image", "webp")
    if content.startswith(b"%PDF-"):
        return FileKind("image", "pdf", pages=1)
    if content.lstrip()[:4] == b"<svg":
        return FileKind("image", "svg")
    if content[4:8] == b"ftyp":
        return FileKind("video", "mp4")
    if content.startswith(b"\x1a\x45\xdf\xa3"):
        return FileKind("video", "webm")
    return FileKind("raw")


def _pixels_of_jpeg(content: bytes) -> tuple[int, int] | tuple[None, None]:
    """Walk the segments to the frame header, which holds height and width."""
    at = 2
    while content[at : at + 1] == _MARKER:
        marker, length = struct.unpack_from(">BH", content, at + 1)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + length
    return None, None
