"""Who may call: Basic authentication of the Admin API, request signatures of the Upload API."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence

from standin.errors import BadRequestError, UnauthorizedError
from standin.options import Options

_UNSIGNED = frozenset({"file", "api_key", "signature", "resource_type", "cloud_name"})
# Calls that change labels may carry these, and their signature leaves them out.
_NOTIFICATION = frozenset({"notification_url", "batch_id"})
_STALE_AFTER = 3600 + 60  # seconds: an hour, and a minute of grace

Params = Mapping[str, str | Sequence[str]]


def check_basic(authorization: str | None, options: Options) -> None:
    """Check an Authorization header; raises `UnauthorizedError`."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise UnauthorizedError("Authorization required")
    try:
        key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise UnauthorizedError("Authorization required") from error
    _check_key(key, options)
    if not hmac.compare_digest(secret.encode(), options.secret.encode()):
        raise UnauthorizedError("api_secret mismatch")


def check_cloud(cloud: str, options: Options) -> None:
    """Check the cloud's name in a path; raises `UnauthorizedError`."""
    if cloud != options.cloud:
        raise UnauthorizedError("cloud_name mismatch")


def check_signature(params: Params, options: Options) -> None:
    """Check the signature among a call's parameters; raises `UnauthorizedError`, and `BadRequestError` for what is missing."""
    for name in ("api_key", "timestamp", "signature"):
        if not params.get(name):
            raise BadRequestError(f"Missing required parameter - {name}")
    _check_key(str(params["api_key"]), options)
    given = str(params["signature"]).encode()
    if not any(hmac.compare_digest(given, digest.encode()) for digest in _signatures(params, options.secret)):
        raise UnauthorizedError(f"Invalid Signature {params['signature']}. String to sign - '{string_to_sign(params)}'.")
    timestamp = str(params["timestamp"])
    if not timestamp.isascii() or not timestamp.isdigit():
        raise BadRequestError("Invalid timestamp")
    if options.clock() - int(timestamp) > _STALE_AFTER:
        raise BadRequestError("Stale request - reported time is more than 1 hour ago")


def string_to_sign(params: Params, *, without: frozenset[str] = frozenset()) -> str:
    """Join what is signed: sorted, lists by commas, `&` within a parameter as `%26`."""
    pairs = []
    for name, value in params.items():
        if value and name not in _UNSIGNED and name not in without:
            text = value if isinstance(value, str) else ",".join(value)
            pairs.append(f"{name}={text}".replace("&", "%26"))
    return "&".join(sorted(pairs))


def _signatures(params: Params, secret: str) -> Iterator[str]:
    for left_out in (frozenset[str](), _NOTIFICATION):
        signed = (string_to_sign(params, without=left_out) + secret).encode()
        yield hashlib.sha1(signed, usedforsecurity=False).hexdigest()
        yield hashlib.sha256(signed).hexdigest()


def _check_key(key: str, options: Options) -> None:
    if not hmac.compare_digest(key.encode(), options.key.encode()):
        raise UnauthorizedError("unknown api_key")
