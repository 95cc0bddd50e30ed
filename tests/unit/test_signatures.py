"""What a record's signature proves, long after the gateway took it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.envelope import Envelope, digest_of
from service.gateway.signature import sign
from service.mirror.entry import Outcome, understand
from service.settings import NoCloudError, Settings, load_settings
from service.signatures import Proof, Prover, check_of

BODY = b'{"notification_type":"upload","asset_id":"0123456789abcdef0123456789abcdef","public_id":"hill"}'
LONG_AGO = 1_400_000_000


class Logged:
    """A record on the log, signed with a secret."""

    def __init__(self, secret: str = "now", body: bytes = BODY, **said: Any) -> None:
        algorithm = said.pop("algorithm", "sha1")
        told: dict[str, Any] = {"cloud": "acme", "key_id": "1", "signature": sign(body, LONG_AGO, secret.encode(), algorithm)}
        told |= said
        envelope = Envelope(
            notification_type="upload", received_at=datetime.now(UTC), digest=digest_of(body), signed_at=LONG_AGO, **told
        )
        self.topic, self.partition, self.offset, self.timestamp = "log", 0, 0, 0
        self.key: bytes | None = None
        self.value: bytes | None = body
        self.headers = tuple(envelope.to_headers())


def settings(**more: Any) -> Settings:
    clouds = {"acme": {"keys": {"1": "now", "2": "beside"}, "retired_keys": {"0": "before"}}, "beta": {"keys": {"9": "theirs"}}}
    return load_settings(clouds=clouds, **more)


@pytest.mark.parametrize(
    ("record", "proof"),
    [
        (Logged(), Proof.PROVEN),
        (Logged(algorithm="sha256"), Proof.PROVEN),
        (Logged("beside"), Proof.PROVEN),  # who has signed counts, not what names it
        (Logged("beside", key_id="2"), Proof.PROVEN),
        (Logged("before", key_id="0"), Proof.PROVEN),
        (Logged("before", key_id="gone"), Proof.PROVEN),
        (Logged("theirs", cloud="beta", key_id="9"), Proof.PROVEN),
        (Logged("lost", key_id="gone"), Proof.UNKNOWN_KEY),
        (Logged("lost", cloud="gone"), Proof.UNKNOWN_KEY),
        (Logged("guessed"), Proof.FORGED),
        (Logged("theirs", key_id="1"), Proof.FORGED),  # another cloud's secret
        (Logged(signature="0" * 40), Proof.FORGED),
        (Logged(signature="é" * 40), Proof.FORGED),
        (Logged(signature=""), Proof.UNSIGNED),
        (Logged(signature="none"), Proof.UNSIGNED),
    ],
)
def test_what_a_signature_proves(record: Logged, proof: Proof) -> None:
    assert Prover(settings()).prove(record) is proof


def test_a_body_changed_is_forged_and_one_without_headers_unsigned() -> None:
    changed = Logged()
    changed.value = BODY.replace(b"hill", b"dale")
    emptied = Logged()
    emptied.value = None
    bare = Logged()
    bare.headers = ()
    assert [Prover(settings()).prove(record) for record in (changed, emptied, bare)] == [
        Proof.FORGED,
        Proof.FORGED,
        Proof.UNSIGNED,
    ]


def test_what_is_not_proven_fails_with_its_reason_where_the_mirror_verifies() -> None:
    check = check_of(settings(mirror_verifies_signatures=True))
    assert understand(Logged(), check).failure is None
    forged = understand(Logged("guessed"), check)
    assert (forged.outcome, forged.statements) == (Outcome.FAILED, ())
    assert "its signature is wrong" in str(forged.reason)
    assert forged.failure is not None
    assert forged.failure.exception == "service.signatures.UnprovenError"
    assert "retired_keys" in str(understand(Logged("lost", key_id="gone"), check).reason)
    assert "no signature" in str(understand(Logged(signature=""), check).reason)
    bare = Logged()
    bare.headers = ()
    assert understand(bare, check).outcome is Outcome.FAILED


def test_elsewhere_nothing_is_proven_and_no_secret_is_needed() -> None:
    assert check_of(load_settings()) is None
    assert understand(Logged("guessed"), check_of(settings())).failure is None
    with pytest.raises(NoCloudError):
        check_of(load_settings(mirror_verifies_signatures=True))
