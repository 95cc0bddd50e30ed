"""The signature of a notification: hex(SHA1(body ‖ timestamp ‖ API secret)), a plain digest."""

import hashlib


def sign(body: bytes, timestamp: str, secret: str) -> str:
    """Sign a notification's bytes; `timestamp` is in unix seconds, as it stands in the header."""
    return hashlib.sha1(body + timestamp.encode() + secret.encode(), usedforsecurity=False).hexdigest()
