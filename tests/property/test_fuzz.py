"""Whatever a signed body holds, it is understood, ignored or asked about, and what becomes of it can be stored."""

import contextlib
import json
from datetime import datetime
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.registry import HANDLERS, WITHOUT_MEANING
from schemas.json import NotAnObjectError, parse_object, storable
from service.mirror.fold import Folded
from tests.bodies import PAYLOADS
from tests.folding import MemoryMirror

FIELDS = sorted({name for file in PAYLOADS.rglob("*.json") for name in orjson.loads(file.read_bytes())} | {"status", "pages"})
WITHIN = sorted(
    {"asset_id", "public_id", "resource_type", "type", "added", "removed", "updated", "name", "value", "kind", "transformation",
     "to_asset_folder", "new_display_name", "new_metadata", "previous_metadata", "new_access_control", "triggered_at",
     "triggered_by", "custom", "status", "error", "external_id", "asset_folder", "version", "tags", "context", "metadata"}
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
PLAUSIBLE = st.sampled_from(
    ["a" * 32, "image", "upload", "2026-01-01T00:00:00Z", "rejected", "/", "a/b", "//a//", "\0", "\ud800", "", "a=b|c=d", "p,q"]
)  # fmt: skip


def nested(levels: int) -> Any:
    value: Any = "deepest"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


EDGES: list[Any] = [
    2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400, -(10**4000), 1e308, 5e-324, -0.0, 1795617600,
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "\U0001f600", "\ud83d", "\ude00\ud83d", "\0" * 5, "é" * 300, "漢" * 700, "x" * 2_000, "x" * 10_001, "1" * 400, "v12",
]  # fmt: skip
AT_THE_EDGE = st.integers(min_value=0, max_value=len(EDGES) - 1).map(EDGES.__getitem__)
DEEP = st.sampled_from([100, 240, 244, 245, 253, 300, 400]).map(nested)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS | PLAUSIBLE | AT_THE_EDGE | DEEP,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WITHIN) | st.text(max_size=4), inner, max_size=6),
    max_leaves=20,
)
NAMED = st.fixed_dictionaries({"asset_id": st.sampled_from(["a" * 32, "b" * 32])})
TYPES = st.sampled_from(sorted({*HANDLERS, *WITHOUT_MEANING, "brand_new", ""})) | st.text(max_size=5)
BODIES = st.builds(
    lambda named, fields, kind: named | fields | {"notification_type": kind},
    NAMED | st.just({}),
    st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=12),
    TYPES,
)

INDEXED = 2_704  # bytes of a B-tree's entry


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def held_by_postgresql(value: object) -> bool:
    """Whether a column can hold a value; what is no text, number or time goes into jsonb."""
    match value:
        case None | bool() | float():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return "\0" not in value.encode().decode()
        case datetime():
            return value.tzinfo is not None
        case _:
            return b"\\u0000" not in orjson.dumps(value)


def check_that_it_can_be_stored(folded: Folded) -> None:
    for asset in folded.assets:
        assert all(map(held_by_postgresql, asset))
        for indexed in ((asset.asset_id,), (asset.public_id, asset.resource_type, asset.type)):
            assert sum(len((text or "").encode()) for text in indexed) < INDEXED - 200
    for event in folded.events:
        assert orjson.loads(event.about)
        assert event.state is None or orjson.loads(event.state)
    for line in folded.lines:
        assert all(map(held_by_postgresql, line))
        assert len(line.reason or "") <= 1_001
        assert len(line.triggered_by or "") <= 201
    for _, folder in folded.folder_events:
        assert len(folder.path.encode()) <= 2_000


@settings(max_examples=600, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=3))
def test_no_object_with_a_notification_type_ever_fails(bodies: list[dict[str, Any]]) -> None:
    mirror = MemoryMirror()
    folded = mirror.apply([encoded(body) for body in bodies])
    assert {line.outcome for line in folded.lines} <= {"applied", "unchanged", "ignored", "refetch"}
    assert all(line.reason for line in folded.lines if line.outcome in ("ignored", "refetch"))
    check_that_it_can_be_stored(folded)


@settings(max_examples=400, deadline=None)
@given(bodies=st.lists(BODIES, min_size=2, max_size=4), data=st.data())
def test_odd_bodies_leave_the_same_rows_in_any_order(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    # what is only named is matched on arrival
    told = [encoded(body) for body in bodies if body.get("asset_id") in ("a" * 32, "b" * 32)]
    shuffled = data.draw(st.permutations([*told, *told[:1]]), label="order")
    states = []
    for order in (told, shuffled):
        mirror = MemoryMirror()
        for body in order:
            mirror.apply([body])
        states.append(({key: row for key, row in mirror.state().items() if not key.is_name}, mirror.folders))
    assert states[0] == states[1]


@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(st.text(max_size=4), ANYTHING, max_size=5))
def test_any_object_can_be_made_storable_and_is_so_for_good(value: dict[str, Any]) -> None:
    stored = orjson.dumps(storable(encoded(value)))
    assert b"\\u0000" not in stored
    assert storable(stored) == orjson.loads(stored)


@settings(max_examples=1000, deadline=None)
@given(raw=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    with contextlib.suppress(NotAnObjectError):
        assert isinstance(parse_object(raw), dict)
