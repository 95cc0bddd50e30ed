"""From bytes that claim to be Cloudinary's to a record for Kafka, the same whichever way they came."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.envelope import Envelope, digest_of, record_key_of
from schemas.json import clean_text, parse_object
from service.gateway.signature import Claim, Policy, verify
from service.keyring import Keyring
from service.settings import Settings


class Record(NamedTuple):
    """A notification that is proven to be Cloudinary's, as it goes on the topic."""

    key: str
    value: bytes
    headers: list[tuple[str, bytes]]
    digest: str


class Recorder:
    """Verifies with the keys of every cloud; raises `NoCloudError` when there are none."""

    def __init__(self, settings: Settings) -> None:
        self._keyrings: Mapping[str, Keyring] = {name: cloud.keyring for name, cloud in settings.require_clouds().items()}
        self.policy = Policy(settings.signature_max_age, settings.signature_max_future, settings.signature_algorithms)

    @property
    def clouds(self) -> Collection[str]:
        """The clouds whose notifications can be verified."""
        return self._keyrings.keys()

    def record(self, cloud: str, body: bytes, claim: Claim) -> Record:
        """Make the record; raises `RefusedSignatureError`, or `NotAnObjectError` for a signed body that is no notification."""
        key_id = verify(body, claim, self._keyrings[cloud].verifying)
        content = parse_object(body)
        notification_type = clean_text(str(content.get("notification_type", "")))[:100]
        digest = digest_of(body)
        envelope = Envelope(cloud, notification_type, datetime.now(UTC), digest, claim.digest, int(claim.timestamp), key_id)
        return Record(record_key_of(content), body, envelope.to_headers(), digest)
