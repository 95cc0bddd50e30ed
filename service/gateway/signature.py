"""Cloudinary's webhook signature: hex(SHA1|SHA256(body ‖ X-Cld-Timestamp ‖ API secret)) over the bytes received.

A plain digest, not an HMAC (https://cloudinary.com/documentation/notification_signatures). Own code, because the SDK's verifier
compares with `==`, raises on bytes, knows one secret a process and accepts any time in the future.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, TypeAlias

Algorithm: TypeAlias = Literal["sha1", "sha256"]

# Ten digits to the letter: the parts are joined without a delimiter, so a digit moved between body and timestamp would pass.
_TIMESTAMP = re.compile(r"[0-9]{10}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ALGORITHM_BY_LENGTH: Mapping[int, Algorithm] = {40: "sha1", 64: "sha256"}
_HASHES = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
_KEY_HINT_WITHIN = 4096  # bytes from the end, where Cloudinary writes it
# What is logged of a body that nobody has proven: no more than a key can be.
_KEY_HINT = re.compile(rb'"signature_key"\s*:\s*"([0-9A-Za-z_-]{1,64})"')


class Reason(StrEnum):
    """Why a signature was refused."""

    MISSING = "missing"
    ONLY_V2 = "only_v2"  # EdDSA: its public key and layout are not published
    BAD_TIMESTAMP = "bad_timestamp"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    BAD_FORM = "bad_form"
    ALGORITHM = "algorithm_not_allowed"
    UNKNOWN_KEY = "unknown_key"  # names a key that is not configured, and matches none that is
    MISMATCH = "mismatch"


class RefusedSignatureError(Exception):
    """The request is not proven to come from Cloudinary."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Policy:
    """What is accepted at all."""

    max_age: int = 7200  # seconds
    max_future: int = 300  # seconds
    algorithms: Collection[Algorithm] = frozenset({"sha1", "sha256"})


class Claim(NamedTuple):
    """A signature that could be good: well-formed, fresh, of an algorithm allowed. The body decides."""

    digest: str
    timestamp: str
    algorithm: Algorithm


def read_claim(signature: str | None, timestamp: str | None, *, has_v2: bool, now: float, policy: Policy) -> Claim:
    """Check all that can be checked without the body; raises `RefusedSignatureError`. `now` in unix seconds."""
    if signature is None or timestamp is None:
        raise RefusedSignatureError(Reason.ONLY_V2 if has_v2 and signature is None else Reason.MISSING)
    if not _TIMESTAMP.fullmatch(timestamp):
        raise RefusedSignatureError(Reason.BAD_TIMESTAMP)
    age = now - int(timestamp)
    if age > policy.max_age:
        raise RefusedSignatureError(Reason.TOO_OLD)
    if age < -policy.max_future:
        raise RefusedSignatureError(Reason.IN_THE_FUTURE)
    if not _DIGEST.fullmatch(signature):
        raise RefusedSignatureError(Reason.BAD_FORM)
    algorithm = _ALGORITHM_BY_LENGTH[len(signature)]
    if algorithm not in policy.algorithms:
        raise RefusedSignatureError(Reason.ALGORITHM)
    return Claim(signature, timestamp, algorithm)


def hashing(claim: Claim) -> "hashlib._Hash":
    """Give what hashes a body as it comes."""
    return _HASHES[claim.algorithm](usedforsecurity=False)


def verify(body: bytes | bytearray, claim: Claim, keys: Mapping[str, bytes], hashed: "hashlib._Hash | None" = None) -> str:
    """Give the id of the API key whose secret made the signature; raises `RefusedSignatureError` when none did.

    `hashed` has seen all of the body, which need not be gone through again then. Every key is tried: `signature_key` in the body
    is unverified, so it only tells a missing key from a forgery.
    """
    hashed = hashed or _HASHES[claim.algorithm](body, usedforsecurity=False)
    hashed.update(claim.timestamp.encode())
    for key_id, secret in keys.items():
        attempt = hashed.copy()
        attempt.update(secret)
        if hmac.compare_digest(attempt.hexdigest(), claim.digest):
            return key_id
    hint = _KEY_HINT.search(body, max(0, len(body) - _KEY_HINT_WITHIN))
    if hint and (named := hint[1].decode()) not in keys:
        raise RefusedSignatureError(Reason.UNKNOWN_KEY, named)
    raise RefusedSignatureError(Reason.MISMATCH)


def sign(body: bytes, timestamp: int, secret: bytes, algorithm: Algorithm = "sha1") -> str:
    """Sign as Cloudinary does."""
    return hashlib.new(algorithm, body + str(timestamp).encode() + secret, usedforsecurity=False).hexdigest()
