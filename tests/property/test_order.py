"""Arrival leaves no trace: neither order, nor duplicates, nor the borders of batches."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.folders import location, sources
from handlers.registry import interpret
from schemas.asset import Asset, AssetKey
from schemas.clock import Clock
from schemas.folder import FolderEvent
from tests.bodies import BEGINNING, delete, notification, rename, triggered, upload
from tests.folding import MemoryMirror

Body = dict[str, Any]

ASSETS = ("a" * 32, "b" * 32, "c" * 32)
ONE = st.sampled_from(ASSETS)
SOME = st.lists(ONE, min_size=1, max_size=3)
TIMES = st.integers(min_value=0, max_value=6)  # few, so that many are equal
NAMES = st.sampled_from(["left", "right", "middle"])
TAG = st.sampled_from(["x", "y", "z"])
TAGS = st.lists(TAG, max_size=3)
KEYS = st.sampled_from(["alt", "caption"])
VALUES = st.dictionaries(KEYS, st.integers(min_value=0, max_value=3), max_size=2)
FOLDERS = st.sampled_from(["", "f", "f/g", "h", "h/g", "f/g/i"])
PATHS = st.sampled_from(["f", "f/g", "h", "h/g", "k"])


def several(notification_type: str, assets: list[str], at: int, **fields: Any) -> Body:
    resources = [
        {"asset_id": asset, "public_id": "left", "resource_type": "image", "type": "upload"} | fields for asset in assets
    ]
    return {"notification_type": notification_type, "resources": resources} | triggered(at)


def mapped(notification_type: str, assets: list[str], at: int, **fields: Any) -> Body:
    resources = {f"name of {asset}": {"asset_id": asset, "resource_type": "image", "type": "upload"} | fields for asset in assets}
    return {"notification_type": notification_type, "resources": resources} | triggered(at)


def about(notification_type: str, asset: str, at: int, **fields: Any) -> Body:
    return {"notification_type": notification_type, "asset_id": asset, "public_id": "left", **fields} | triggered(at)


def snapshot(asset: str, at: int, **fields: Any) -> Body:
    resource = {name: value for name, value in (upload(asset) | fields).items() if value is not None}
    del resource["notification_type"], resource["notification_context"]
    return {"notification_type": "snapshot", "resources": [resource]} | triggered(at)


def missing(asset: str, at: int) -> Body:
    return {"notification_type": "missing", "resources": [{"asset_id": asset, "public_id": "left"}]} | triggered(at)


def folder_move(at: int, from_path: str, to_path: str) -> Body:
    return {"notification_type": "move_or_rename_asset_folder", "from_path": from_path, "to_path": to_path} | triggered(at)


def folder(notification_type: str, at: int, path: str) -> Body:
    return {"notification_type": notification_type, "folder_path": path} | triggered(at)


# Some are times, of before, amid and after the events; the others are none: not told, counted, in milliseconds, yet to come.
BEGAN = int(BEGINNING.timestamp())
VERSIONS = st.one_of(
    st.sampled_from([BEGAN - 1000, BEGAN + 1, BEGAN + 2, BEGAN + 3, BEGAN + 5]),
    st.sampled_from([None, 0, 1, 2, 10**9, BEGAN * 1000, BEGAN + 10**6]),
)
CONTENT: dict[str, st.SearchStrategy[Any]] = {
    "public_id": NAMES,
    "version": VERSIONS,
    "bytes": st.integers(min_value=0, max_value=9),
    "tags": st.none() | TAGS,
    "asset_folder": st.none() | FOLDERS,
    "context": st.none() | VALUES,
    "metadata": st.none() | VALUES,
    "moderation": st.none() | st.just([{"kind": "aws", "status": "pending"}]),
    "placeholder": st.none() | st.booleans(),
    "pages": st.none() | st.integers(min_value=1, max_value=2),
    "etag": st.none() | st.sampled_from(["e", "f"]),
}
TAG_CHANGES = st.builds(several, st.just("resource_tags_changed"), SOME, TIMES, added=TAGS, removed=TAGS, updated=st.just([]))
CONTEXT_CHANGES = st.builds(
    mapped, st.just("resource_context_changed"), SOME, TIMES, added=VALUES, removed=st.lists(KEYS, max_size=1), updated=VALUES
)
METADATA_CHANGES = st.builds(
    mapped, st.just("resource_metadata_changed"), SOME, TIMES, previous_metadata=VALUES, new_metadata=VALUES
)
FOLDER_EVENTS = st.one_of(
    st.builds(folder_move, TIMES, PATHS, PATHS),
    st.builds(folder, st.sampled_from(["create_folder", "delete_folder"]), TIMES, PATHS),
)
NOTIFICATIONS = st.one_of(
    st.builds(upload, ONE, at=TIMES, existing=st.booleans(), **CONTENT),
    st.builds(upload, ONE, at=TIMES, overwritten=st.just(True), **CONTENT),
    st.builds(snapshot, ONE, TIMES, **CONTENT),
    st.builds(missing, ONE, TIMES),
    st.builds(rename, ONE, at=TIMES, to=NAMES),
    st.builds(lambda assets, at: delete(*assets, at=at), st.lists(ONE, min_size=1, unique=True), TIMES),
    TAG_CHANGES,
    CONTEXT_CHANGES,
    METADATA_CHANGES,
    st.builds(mapped, st.just("resource_display_name_changed"), SOME, TIMES, new_display_name=NAMES),
    st.builds(several, st.just("access_control_changed"), SOME, TIMES, new_access_control=st.lists(st.just({}), max_size=2)),
    st.builds(mapped, st.just("move"), SOME, TIMES, to_asset_folder=FOLDERS),
    FOLDER_EVENTS,
    st.builds(
        about,
        st.just("moderation"),
        ONE,
        TIMES,
        version=VERSIONS,
        moderation_kind=st.just("aws"),
        moderation_status=st.sampled_from(["approved", "rejected"]),
    ),
    st.builds(about, st.just("eager"), ONE, TIMES, eager=st.lists(st.builds(dict, transformation=TAG, bytes=TIMES), max_size=2)),
    st.builds(about, st.sampled_from(["restore_asset_version", "publish", "info", "brand_new"]), ONE, TIMES),
)
HISTORIES = st.lists(NOTIFICATIONS, min_size=1, max_size=9)

State = tuple[dict[AssetKey, Asset], dict[str, Clock]]


def state(fill: Callable[[MemoryMirror], object]) -> State:
    mirror = MemoryMirror()
    fill(mirror)
    return mirror.state(), mirror.folders


@settings(max_examples=1500, deadline=None)
@given(data=st.data(), history=HISTORIES)
def test_any_order_with_any_duplicates_leaves_the_same_rows(data: st.DataObject, history: list[Body]) -> None:
    doubled = history + data.draw(st.lists(st.sampled_from(history), max_size=4), label="duplicates")
    shuffled = data.draw(st.permutations(doubled), label="order")
    assert state(lambda mirror: mirror.apply(shuffled)) == state(lambda mirror: mirror.apply(history))


@settings(max_examples=1000, deadline=None)
@given(history=HISTORIES, size=st.integers(min_value=1, max_value=9))
def test_the_borders_of_batches_do_not_matter(history: list[Body], size: int) -> None:
    assert state(lambda mirror: mirror.apply_in_batches(history, size)) == state(lambda mirror: mirror.apply(history))


@settings(max_examples=1000, deadline=None)
@given(history=HISTORIES, cut=st.integers(min_value=0, max_value=9))
def test_folding_a_prefix_again_changes_nothing(history: list[Body], cut: int) -> None:
    mirror = MemoryMirror()
    mirror.apply(history)
    before = dict(mirror.rows)
    again = mirror.apply(history[:cut])
    assert mirror.rows == before
    assert not again.assets
    assert not again.folder_events
    assert {line.outcome for line in again.lines} <= {"unchanged", "ignored", "refetch"}


@settings(max_examples=1000, deadline=None)
@given(
    data=st.data(),
    moves=st.lists(FOLDER_EVENTS, min_size=2, max_size=6),
    uploads=st.lists(st.builds(upload, ONE, at=TIMES, asset_folder=FOLDERS), max_size=3),
)
def test_folder_moves_reach_assets_before_and_after_them(data: st.DataObject, moves: list[Body], uploads: list[Body]) -> None:
    shuffled = data.draw(st.permutations(moves + uploads), label="order")
    assert state(lambda mirror: mirror.apply_in_batches(shuffled, 1)) == state(lambda mirror: mirror.apply(uploads + moves))


@settings(max_examples=1000, deadline=None)
@given(
    moves=st.lists(st.builds(folder_move, TIMES, PATHS, PATHS), min_size=1, max_size=6),
    at=TIMES,
    assigned=FOLDERS,
    known=st.integers(min_value=0, max_value=6),
)
def test_the_assets_that_a_move_may_reach_are_among_those_looked_for(
    moves: list[Body], at: int, assigned: str, known: int
) -> None:
    events = [event for body in moves for event in interpret(notification(body)) if isinstance(event, FolderEvent)]
    before, new = sorted(events[:known], key=clock_of_event), events[known:]
    assigned_at = notification(upload(at=at)).clock()
    was, is_now = location(assigned, assigned_at, before), location(assigned, assigned_at, sorted(events, key=clock_of_event))
    if was != is_now:
        assert any(assigned == path or assigned.startswith(f"{path}/") for path in sources(new, before))


def clock_of_event(event: FolderEvent) -> Clock:
    return event.clock
