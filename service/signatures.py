"""Signatures of records on the log, proven again: not all that may be written there came by the gateway."""

import hmac
from enum import StrEnum

from schemas.envelope import Envelope, NotOursError
from service.gateway.signature import Algorithm, sign
from service.mirror.entry import Check, Record
from service.settings import Settings

_ALGORITHMS: dict[int, Algorithm] = {40: "sha1", 64: "sha256"}  # by the length of the digest


class Proof(StrEnum):
    """What a record's signature proves."""

    PROVEN = "proven"  # made with a secret of its cloud
    UNKNOWN_KEY = "unknown_key"  # made with none of those, and names a key that is not configured, such as one rotated away
    UNSIGNED = "unsigned"  # there is none
    FORGED = "forged"  # names a key that is configured, and was not made with its secret

    @property
    def in_words(self) -> str:
        """What is so many, to a reader."""
        return "by keys not configured" if self is Proof.UNKNOWN_KEY else self.value


class UnprovenError(NotOursError):
    """A record is not proven to come from Cloudinary, or from us."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(_REASONS[proof])
        self.proof = proof


_REASONS = {
    Proof.UNKNOWN_KEY: "its signature names an API key that is not configured; one that was rotated away belongs to retired_keys",
    Proof.UNSIGNED: "it bears no signature",
    Proof.FORGED: "its signature is wrong: it was not made with a secret of its cloud",
}


class Prover:
    """Proves with the keys of every cloud, and those that it had before; raises `NoCloudError` without a cloud.

    However old a signature is: it was fresh when the gateway took it.
    """

    def __init__(self, settings: Settings) -> None:
        self._clouds = settings.require_clouds()

    def prove(self, record: Record) -> Proof:
        """Tell what a record's signature proves."""
        try:
            envelope = Envelope.from_headers(record.headers)
        except NotOursError:
            return Proof.UNSIGNED
        algorithm = _ALGORITHMS.get(len(envelope.signature))
        if algorithm is None:
            return Proof.UNSIGNED
        cloud = self._clouds.get(envelope.cloud)
        if cloud is None:
            return Proof.UNKNOWN_KEY
        retired = {key: secret.get_secret_value().encode() for key, secret in cloud.retired_keys.items()}
        keys = {**retired, **cloud.keyring.verifying}
        body, claimed = record.value or b"", envelope.signature.encode()
        # the key that is named first, and then the others: what names it is not signed
        for key in sorted(keys, key=lambda key: key != envelope.key_id):
            made = sign(body, envelope.signed_at, keys[key], algorithm)
            if hmac.compare_digest(made.encode(), claimed):
                return Proof.PROVEN
        return Proof.FORGED if envelope.key_id in keys else Proof.UNKNOWN_KEY

    def check(self, record: Record) -> None:
        """Raise `UnprovenError` unless a record is proven."""
        if (proof := self.prove(record)) is not Proof.PROVEN:
            raise UnprovenError(proof)


def check_of(settings: Settings) -> Check | None:
    """Give the check that records on the log must stand; None when they are taken as they are. Raises `NoCloudError`."""
    return Prover(settings).check if settings.mirror_verifies_signatures else None
