"""Our own notifications: what we have read of the account, on the same log as what Cloudinary says of itself."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from schemas.envelope import Envelope, Source, digest_of, record_key_of
from schemas.json import JSONObject
from service.cloudinary.client import Account
from service.gateway.signature import sign
from service.publisher import Publisher


class Told(StrEnum):
    """What a reading tells of an asset."""

    SNAPSHOT = "snapshot"  # how it is
    MISSING = "missing"  # that it is not there


class Announcer:
    """Puts readings on the notifications topic, signed as Cloudinary signs, so that all of the topic can be verified."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def announce(self, account: Account, kind: str, resource: Mapping[str, Any], read_at: datetime, by: str) -> str:
        """Give the digest of the notification, once Kafka has it; raises `NotDurableError`. Many may be under way at once.

        `kind`: "snapshot", with the resource as the Admin API gives it, or "missing", with what identifies the asset. `read_at`:
        `Answer.read_at`. `by`: which part of us has read, such as "reconcile".

        One asset each, so that the record's key is the asset's id.
        """
        body: JSONObject = {
            "notification_type": Told(kind).value,
            "resources": [dict(resource)],
            "notification_context": {
                "triggered_at": f"{read_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
                "triggered_by": {"source": "mediamirror", "id": by},
            },
            "signature_key": account.key_id,
        }
        raw = orjson.dumps(body)
        now = datetime.now(UTC)
        signed_at = int(now.timestamp())
        envelope = Envelope(
            cloud=account.name,
            notification_type=kind,
            received_at=now,
            digest=digest_of(raw),
            signature=sign(raw, signed_at, account.secret),
            signed_at=signed_at,
            key_id=account.key_id,
            source=Source.READING,
        )
        await self._publisher.publish(record_key_of(body), raw, envelope.to_headers())
        return envelope.digest
