"""Whether a listing goes round: by the cursors and the pages that a sweep has met in it. Pure."""

from hashlib import sha256

from service.cloudinary.errors import CloudinaryError
from service.cloudinary.reading import Page


class GoesRoundError(CloudinaryError):
    """A listing of {cloud} goes round: Cloudinary gave {said} a second time. Nothing was concluded from it, and the next sweep
    begins anew.
    """


def marks_of(page: Page) -> list[bytes]:
    """Give what tells a page from all others of its listing: what it shows, and, unless it is the last, where it leads.

    Digests, so that what is kept for a page is small, whatever is in it.
    """
    shown = sorted(reading.asset_id for reading in page.readings)
    return [_digest("page", *shown), *([] if page.cursor is None else [_digest("cursor", page.cursor)])]


def _digest(*parts: str) -> bytes:
    digest = sha256()
    for part in parts:
        said = part.encode(errors="surrogatepass")
        digest.update(b"%d:" % len(said) + said)
    return digest.digest()[:16]
