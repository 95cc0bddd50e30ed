import hmac
import json
import time
from pathlib import Path
from typing import Any

import cloudinary
import cloudinary.utils
import pytest

from service.gateway.signature import Claim, Policy, Reason, RefusedSignatureError, read_claim, sign, verify
from tests.bodies import KEY, SECRET, documented

VECTORS = json.loads((Path(__file__).parents[1] / "signature-vectors.json").read_text())
DOG = next(vector for vector in VECTORS["vectors"] if vector["id"] == "sdk-dog-sha1")
NOW = 1_767_225_600
BODY = documented("01_upload")


def claimed(signature: str | None, timestamp: str | None, *, now: float = NOW, has_v2: bool = False, **policy: Any) -> Claim:
    return read_claim(signature, timestamp, has_v2=has_v2, now=now, policy=Policy(**policy))


def reason_of(signature: str | None, timestamp: str | None, body: bytes = BODY, **options: Any) -> Reason | None:
    try:
        verify(body, claimed(signature, timestamp, **options), {KEY: SECRET})
    except RefusedSignatureError as refused:
        return refused.reason
    return None


def key_of(vector: dict[str, Any], signature: str, timestamp: str) -> str | None:
    claim = Claim(signature, timestamp, vector["algorithm"])
    try:
        return verify(vector["body"].encode(), claim, {"other": b"other", "right": vector["api_secret"].encode()})
    except RefusedSignatureError:
        return None


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["id"])
def test_vectors_of_the_official_sdks_are_good(vector: dict[str, Any]) -> None:
    assert vector["expect"] is True
    assert key_of(vector, vector["signature"], vector["timestamp"]) == "right"


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["id"])
def test_a_vector_with_another_time_is_refused(vector: dict[str, Any]) -> None:
    assert key_of(vector, vector["signature"], str(int(vector["timestamp"]) - 1)) is None


def test_the_notes_of_the_dated_vector_hold() -> None:
    claim = claimed(DOG["signature"], DOG["timestamp"], now=DOG["mocked_now"], max_age=DOG["valid_for"])
    assert verify(DOG["body"].encode(), claim, {KEY: DOG["api_secret"].encode()}) == KEY
    for signature, max_age, reason in (
        (DOG["signature"], 59, Reason.TOO_OLD),
        (DOG["signature"] + "chars", 60, Reason.BAD_FORM),
    ):
        with pytest.raises(RefusedSignatureError) as refused:
            claimed(signature, DOG["timestamp"], now=DOG["mocked_now"], max_age=max_age)
        assert refused.value.reason is reason


def test_a_reserialised_body_is_refused() -> None:
    reserialised = DOG | {"body": json.dumps(json.loads(DOG["body"]))}
    assert reserialised["body"] != DOG["body"]
    assert key_of(reserialised, DOG["signature"], DOG["timestamp"]) is None


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_an_hmac_is_refused(algorithm: str) -> None:
    assert reason_of(hmac.new(SECRET, BODY, algorithm).hexdigest(), str(NOW)) is Reason.MISMATCH


@pytest.mark.parametrize("position", [0, len(BODY) // 2, len(BODY) - 1])
def test_a_body_changed_by_one_byte_is_refused(position: int) -> None:
    changed = BODY[:position] + bytes([BODY[position] ^ 1]) + BODY[position + 1 :]
    signature = sign(BODY, NOW, SECRET)
    assert reason_of(signature, str(NOW)) is None
    assert reason_of(signature, str(NOW), changed) is Reason.MISMATCH


@pytest.mark.parametrize(
    ("age", "reason"), [(7200, None), (7201, Reason.TOO_OLD), (-300, None), (-301, Reason.IN_THE_FUTURE), (10**6, Reason.TOO_OLD)]
)
def test_a_signature_is_good_for_two_hours_and_five_minutes_ahead(age: int, reason: Reason | None) -> None:
    assert reason_of(sign(BODY, NOW - age, SECRET), str(NOW - age)) is reason


@pytest.mark.parametrize(
    "timestamp", ["", "0", "176722560", "01767225600", "1767225600 ", "176722560x", "1767225600000", "١٧٦٧٢٢٥٦٠٠"]
)
def test_a_timestamp_is_ten_ascii_digits(timestamp: str) -> None:
    assert reason_of(sign(BODY, NOW, SECRET), timestamp) is Reason.BAD_TIMESTAMP


def test_a_digit_moved_from_the_time_to_the_body_is_refused() -> None:
    signature = sign(b"{}", NOW, SECRET)
    assert reason_of(signature, str(NOW)[1:], b"{}" + str(NOW)[:1].encode()) is Reason.BAD_TIMESTAMP


def test_what_is_missing_is_told_apart_from_a_scheme_that_nobody_can_check() -> None:
    signature = sign(BODY, NOW, SECRET)
    assert reason_of(None, str(NOW)) is Reason.MISSING
    assert reason_of(signature, None) is Reason.MISSING
    assert reason_of(None, str(NOW), has_v2=True) is Reason.ONLY_V2


@pytest.mark.parametrize("signature", ["", "0" * 39, "0" * 41, "0" * 64 + "0", "G" * 40, sign(BODY, NOW, SECRET).upper()])
def test_a_signature_is_lower_case_hex_of_a_known_length(signature: str) -> None:
    assert reason_of(signature, str(NOW)) is Reason.BAD_FORM


def test_an_account_of_sha256_alone_refuses_sha1() -> None:
    only = frozenset({"sha256"})
    assert reason_of(sign(BODY, NOW, SECRET, "sha256"), str(NOW), algorithms=only) is None
    assert reason_of(sign(BODY, NOW, SECRET, "sha1"), str(NOW), algorithms=only) is Reason.ALGORITHM


def test_every_key_is_tried_whatever_the_body_hints_at() -> None:
    claim = claimed(sign(BODY, NOW, b"new"), str(NOW))
    assert verify(BODY, claim, {KEY: SECRET, "444": b"new"}) == "444"


def test_a_key_that_is_not_configured_is_told_apart_from_a_forgery() -> None:
    claim = claimed(sign(BODY, NOW, b"unknown"), str(NOW))
    with pytest.raises(RefusedSignatureError) as refused:
        verify(BODY, claim, {"444": SECRET})
    assert refused.value.reason is Reason.UNKNOWN_KEY
    assert str(refused.value) == KEY


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_the_official_sdk_accepts_what_we_sign(algorithm: Any) -> None:
    now = int(time.time())
    cloudinary.config(api_secret=SECRET.decode())
    signature = sign(BODY, now, SECRET, algorithm)
    assert cloudinary.utils.verify_notification_signature(BODY.decode(), now, signature, algorithm=algorithm)
