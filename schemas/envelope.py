"""What travels beside a body on `cloudinary.notifications`: the record's headers and key.

The value is the body byte for byte, so that its signature can be checked again at any time.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import orjson

from schemas.json import JSONObject

_LONGEST_KEY = 500  # characters; a public id has at most 255, and a folder's path may have more


class NotOursError(ValueError):
    """A record on the topic lacks the headers that the gateway writes."""


class Source(StrEnum):
    """Who put a record on the topic."""

    WEBHOOK = "webhook"
    POLL = "poll"
    READING = "reading"  # of the account, by us
    UNKNOWN = ""  # records from before this was told


class Envelope(NamedTuple):
    """What the gateway knows of a body it has verified."""

    cloud: str
    notification_type: str
    received_at: datetime
    digest: str  # sha256 of the body, in hex
    signature: str  # X-Cld-Signature
    signed_at: int  # X-Cld-Timestamp, unix seconds
    key_id: str  # the API key whose secret matched
    source: str = Source.UNKNOWN

    def to_headers(self) -> list[tuple[str, bytes]]:
        """Give the headers of the Kafka record."""
        return [
            ("cloud", self.cloud.encode()),
            ("notification-type", self.notification_type.encode()),
            # what isoformat() gives, in a quarter of its time
            ("received-at", orjson.dumps(self.received_at)[1:-1]),
            ("digest", self.digest.encode()),
            ("x-cld-signature", self.signature.encode()),
            ("x-cld-timestamp", b"%d" % self.signed_at),
            ("key-id", self.key_id.encode()),
            ("source", self.source.encode()),
        ]

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> "Envelope":
        """Read a record's headers; raises `NotOursError` when one is missing or unreadable."""
        given = dict(headers)
        try:
            return cls(
                cloud=given["cloud"].decode(),
                notification_type=given["notification-type"].decode(),
                received_at=datetime.fromisoformat(given["received-at"].decode()),
                digest=given["digest"].decode(),
                signature=given["x-cld-signature"].decode(),
                signed_at=int(given["x-cld-timestamp"]),
                key_id=given["key-id"].decode(),
                source=given.get("source", b"").decode(),
            )
        except (KeyError, ValueError) as error:
            msg = f"not a record of the gateway's: {error!r}"
            raise NotOursError(msg) from error


def digest_of(body: bytes) -> str:
    """Give a body's identity: Cloudinary sends no event id, and a retry repeats the body but not the signature."""
    return hashlib.sha256(body).hexdigest()


def record_key_of(body: JSONObject) -> str:
    """Give the key that keeps the notifications of an asset in one partition: its asset id, or the best the body has.

    One longer than any name of Cloudinary's is its digest: Kafka takes no key of megabytes. A body about several assets gets the
    key of its first; order across partitions is never relied upon.
    """
    subject = body
    resources = body.get("resources")
    if isinstance(resources, list) and resources and isinstance(resources[0], dict):
        subject = resources[0]
    elif isinstance(resources, dict) and isinstance(resources.get("asset_id"), str):
        subject = resources
    elif isinstance(resources, dict) and resources:
        public_id, first = next(iter(resources.items()))
        subject = {"public_id": public_id, **first} if isinstance(first, dict) else {"public_id": public_id}
    for field in ("asset_id", "public_id", "to_public_id", "folder_path", "to_path"):
        value = subject.get(field)
        if isinstance(value, str) and value:
            return _bounded(value)
    return _bounded(str(body.get("notification_type", "")))


def _bounded(key: str) -> str:
    return key if len(key) <= _LONGEST_KEY else digest_of(key.encode(errors="replace"))
