"""From bytes that claim to be Cloudinary's to a record for Kafka, the same whichever way they came."""

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.envelope import Envelope, Source, digest_of, record_key_of
from schemas.json import NotAnObjectError, clean_text, parse_object
from schemas.salvage import salvage
from service.gateway.signature import Claim, Policy, verify
from service.keyring import Keyring
from service.settings import Settings


class Record(NamedTuple):
    """A notification that is proven to be Cloudinary's, as it goes on the topic."""

    key: str
    value: bytes
    headers: list[tuple[str, bytes]]
    digest: str
    is_object: bool  # else it is kept all the same: sent again, it would be no better


class Recorder:
    """Verifies with the keys of every cloud; raises `NoCloudError` when there are none. `source`: which way they come."""

    def __init__(self, settings: Settings, source: Source = Source.WEBHOOK) -> None:
        self._source = source
        self._keyrings: Mapping[str, Keyring] = {name: cloud.keyring for name, cloud in settings.require_clouds().items()}
        self.policy = Policy(settings.signature_max_age, settings.signature_max_future, settings.signature_algorithms)

    @property
    def clouds(self) -> Collection[str]:
        """The clouds whose notifications can be verified."""
        return self._keyrings.keys()

    def record(self, cloud: str, body: bytes | bytearray, claim: Claim, hashed: "hashlib._Hash | None" = None) -> Record:
        """Make the record; raises `RefusedSignatureError`. `hashed` has seen all of the body."""
        key_id = verify(body, claim, self._keyrings[cloud].verifying, hashed)
        value = bytes(body)  # a copy of a bytearray alone
        digest = digest_of(value)
        try:
            content = parse_object(value)
        except NotAnObjectError:
            found = salvage(value)
            notification_type, is_object = found.notification_type, False
            key = found.asset_ids[0] if found.asset_ids else digest
        else:
            notification_type, is_object = clean_text(str(content.get("notification_type", "")))[:100], True
            key = record_key_of(content)
        envelope = Envelope(
            cloud, notification_type, datetime.now(UTC), digest, claim.digest, int(claim.timestamp), key_id, self._source
        )
        return Record(key, value, envelope.to_headers(), digest, is_object)
