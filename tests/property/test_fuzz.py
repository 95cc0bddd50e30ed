"""Whatever a signed body holds, it is understood, ignored or asked about; it never fails."""

import contextlib
import json
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.registry import HANDLERS, WITHOUT_MEANING
from schemas.json import NotAnObjectError, parse_object
from tests.bodies import PAYLOADS
from tests.folding import MemoryMirror

FIELDS = sorted({name for file in PAYLOADS.rglob("*.json") for name in orjson.loads(file.read_bytes())} | {"status", "pages"})
WITHIN = sorted(
    {"asset_id", "public_id", "resource_type", "type", "added", "removed", "updated", "name", "value", "kind", "transformation",
     "to_asset_folder", "new_display_name", "new_metadata", "previous_metadata", "new_access_control", "triggered_at",
     "triggered_by"}
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
PLAUSIBLE = st.sampled_from(["a" * 32, "image", "upload", "2026-01-01T00:00:00Z", "rejected", "/", "a/b", "\0", "\ud800", ""])
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS | PLAUSIBLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WITHIN) | st.text(max_size=4), inner, max_size=5),
    max_leaves=8,
)
TYPES = st.sampled_from(sorted({*HANDLERS, *WITHOUT_MEANING, "brand_new", ""})) | st.text(max_size=5)
BODIES = st.builds(
    lambda fields, kind: fields | {"notification_type": kind},
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=12),
    TYPES,
)


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


@settings(max_examples=1000, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=3))
def test_no_object_with_a_notification_type_ever_fails(bodies: list[dict[str, Any]]) -> None:
    mirror = MemoryMirror()
    folded = mirror.apply([encoded(body) for body in bodies])
    assert {line.outcome for line in folded.lines} <= {"applied", "unchanged", "ignored", "refetch"}
    assert all(line.reason for line in folded.lines if line.outcome in ("ignored", "refetch"))


@settings(max_examples=1000, deadline=None)
@given(raw=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    with contextlib.suppress(NotAnObjectError):
        assert isinstance(parse_object(raw), dict)
