from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from handlers.registry import interpret
from schemas.asset import Asset, AssetName, Group
from tests.bodies import ASSET, BEGINNING, PAYLOADS, delete, documented, notification, rename, triggered, upload
from tests.folding import MemoryMirror


def after(*bodies: dict[str, Any] | bytes) -> Asset:
    """The one asset that the bodies are about."""
    mirror = MemoryMirror()
    mirror.apply(bodies)
    (asset,) = mirror.rows.values()
    return asset


def changed_by_last(*bodies: dict[str, Any] | bytes) -> tuple[str, ...]:
    mirror = MemoryMirror()
    return mirror.apply(bodies).lines[-1].changed


def asked_by(*bodies: dict[str, Any] | bytes) -> list[tuple[str, str]]:
    mirror = MemoryMirror()
    mirror.apply(bodies)
    return [(refetch.key.asset_id, refetch.reason) for refetch in mirror.refetches]


def test_an_upload_becomes_a_row_column_by_column() -> None:
    asset = after(documented("01_upload"))
    assert asset.name == AssetName("image", "upload", "jeans")
    assert (asset.format, asset.bytes, asset.width, asset.height, asset.version) == ("png", 147954, 520, 693, 1719310887)
    assert (asset.etag, asset.version_id) == ("ac03de878dde557f29c59e83edcbd74b", "40c79d9223f1ca2797a55787b9c8f503")
    assert (asset.asset_folder, asset.display_name, asset.tags) == ("", "jeans", [])
    assert asset.created_at == datetime(2024, 6, 25, 10, 21, 27, tzinfo=UTC)
    assert asset.details == {"original_filename": "jeans-1421398-1279x852"}
    assert (asset.deleted_at, asset.placeholder, asset.revision) == (None, False, 1)


def test_an_upload_of_2020_is_known_by_its_name() -> None:
    asset = after(documented("07_upload"))
    assert asset.asset_id == "video/upload/hot-tub"
    assert asset.moderation == {"google_video_moderation": {"status": "pending"}}
    assert asset.duration == 13.646967


def test_what_an_upload_leaves_out_is_not_asserted() -> None:
    asset = after(upload(at=1, tags=["a"], context={"custom": {"alt": "x"}}), upload(at=2, tags=None, context=None))
    assert (asset.tags, asset.context) == (["a"], {"alt": "x"})


def test_an_empty_value_is_asserted() -> None:
    asset = after(upload(at=1, tags=["a"], metadata={"m": 1}), upload(at=2, tags=[], metadata={}))
    assert (asset.tags, asset.metadata) == ([], {})


def test_a_fixed_folder_is_a_folder() -> None:
    assert after(upload(asset_folder=None, folder="a/b")).asset_folder == "a/b"


def test_an_upload_that_stored_nothing_changes_no_content() -> None:
    asset = after(upload(at=1, bytes=10), upload(at=9, bytes=20, existing=True, display_name="seen later"))
    assert (asset.bytes, asset.display_name) == (10, "seen later")


def test_a_duplicate_changes_nothing() -> None:
    assert changed_by_last(upload())
    assert not changed_by_last(upload(), upload())
    assert after(upload(), upload()) == after(upload())


def test_an_upload_a_rename_and_a_delete_leave_a_deleted_row_with_the_new_name() -> None:
    asset = after(upload(at=1), rename(at=2, to="new"), delete(ASSET, at=3, public_id="new"))
    assert asset.public_id == "new"
    assert asset.deleted_at == datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert asset.revision == 3


def test_late_upload_does_not_resurrect_a_deleted_asset() -> None:
    asset = after(delete(ASSET, at=2), upload(at=1))
    assert asset.deleted_at is not None
    assert asset.bytes == 147954


def test_a_later_upload_does_resurrect_it() -> None:
    assert after(delete(ASSET, at=2), upload(at=3)).deleted_at is None


def test_a_delete_beats_what_happened_at_the_same_time() -> None:
    assert after(delete(ASSET, at=1), upload(at=1)).deleted_at is not None
    assert after(upload(at=1), delete(ASSET, at=1)).deleted_at is not None


def test_a_late_rename_does_not_undo_a_later_one() -> None:
    assert after(upload(at=1), rename(at=3, to="last"), rename(at=2, to="first")).public_id == "last"


def test_a_rename_may_change_the_delivery_type() -> None:
    assert after(upload(at=1), rename(at=2, to="new", to_type="private")).name == AssetName("image", "private", "new")


def test_a_delete_of_an_unknown_asset_leaves_a_tombstone_that_tells_its_name() -> None:
    asset = after(documented("03_delete"))
    assert asset.name == AssetName("image", "upload", "kids_playing_with_puppy")
    assert asset.deleted_at == datetime(2024, 6, 25, 12, 24, 29, 599817, UTC)


def test_a_statement_that_changes_no_field_still_moves_the_clock() -> None:
    first, later = upload(at=1), upload(at=2, version=upload(at=1)["version"])
    assert not changed_by_last(first, later)
    asset = after(first, later)
    assert asset.clocks[Group.ALIVE].startswith("1767225602")
    assert asset.revision == 1


def test_a_body_that_names_no_asset_means_nothing() -> None:
    for body in (
        upload(public_id=None) | {"asset_id": None},
        rename(at=1, to="", from_public_id=None) | {"asset_id": None},
        {"notification_type": "delete"},
        {"notification_type": "delete", "resources": [{}, 5]},
    ):
        assert not list(interpret(notification(body)))


def resource(asset_id: str | None = ASSET, **fields: Any) -> dict[str, Any]:
    named = {"public_id": f"name-of-{ASSET}", "resource_type": "image", "type": "upload"}
    return named | ({"asset_id": asset_id} if asset_id else {}) | fields


def several(notification_type: str, *resources: dict[str, Any], at: float) -> dict[str, Any]:
    return {"notification_type": notification_type, "resources": list(resources)} | triggered(at)


def tags(at: float, *, added: list[str] | None = None, removed: list[str] | None = None) -> dict[str, Any]:
    return several("resource_tags_changed", resource(added=added or [], removed=removed or []), at=at)


def context(at: float, **fields: Any) -> dict[str, Any]:
    return {"notification_type": "resource_context_changed", "resources": {"x": resource(**fields)}} | triggered(at)


def snapshot(at: float, **fields: Any) -> dict[str, Any]:
    return several("snapshot", resource(**fields), at=at)


def test_tags_added_later_survive_an_older_snapshot() -> None:
    assert after(upload(at=0, tags=["a"]), tags(2, added=["b"]), snapshot(1, tags=["c"])).tags == ["b", "c"]


def test_each_tag_is_decided_for_itself() -> None:
    assert after(upload(at=0, tags=["a", "b"]), tags(3, removed=["a"]), tags(2, added=["a", "c"])).tags == ["b", "c"]


def test_a_tag_added_and_removed_at_once_is_there() -> None:
    assert after(upload(at=0), tags(1, added=["a"], removed=["a"])).tags == ["a"]


def test_context_comes_in_three_shapes() -> None:
    before = upload(at=0, context={"custom": {"alt": "old", "source": "s"}})
    pairs = context(1, added=[{"name": "alt", "value": "new"}], removed=[{"name": "source", "value": "s"}], updated=[])
    objects = context(1, added={"alt": "new"}, removed={"source": "s"}, updated={})
    names = context(1, added=[], removed=["source"], updated={"alt": "new"})
    for change in (pairs, objects, names):
        assert after(before, change).context == {"alt": "new"}
        assert asked_by(before, change) == []


def test_context_without_its_values_is_asked_for() -> None:
    ((asset_id, reason),) = asked_by(upload(at=0), context(1, added=["alt"]))
    assert asset_id == ASSET
    assert "leaves out" in reason


@pytest.mark.parametrize(("previous", "new"), [({"a": 1, "b": 2, "c": 3}, {"a": 9, "b": 2}), ({"a": 1, "c": 3}, {"a": 9})])
def test_metadata_comes_out_right_whether_told_whole_or_in_part(previous: dict[str, int], new: dict[str, int]) -> None:
    change = several("resource_metadata_changed", resource(previous_metadata=previous, new_metadata=new), at=1)
    assert after(upload(at=0, metadata={"a": 1, "b": 2, "c": 3}), change).metadata == {"a": 9, "b": 2}


def test_display_name_and_access_control_change() -> None:
    rules = [{"access_type": "token"}]
    asset = after(
        upload(at=0),
        several("resource_display_name_changed", resource(new_display_name="shown"), at=1),
        several("access_control_changed", resource(previous_access_control=[], new_access_control=rules), at=1),
    )
    assert (asset.display_name, asset.access_control) == ("shown", rules)


def test_an_asset_moves() -> None:
    assert after(upload(at=0), several("move", resource(from_asset_folder="", to_asset_folder="a/b"), at=1)).asset_folder == "a/b"


def folder_move(at: float, from_path: str, to_path: str) -> dict[str, Any]:
    return {"notification_type": "move_or_rename_asset_folder", "from_path": from_path, "to_path": to_path} | triggered(at)


def test_a_folder_move_moves_what_is_below_it_and_nothing_else() -> None:
    for folder, expected in (("a", "z"), ("a/b", "z/b"), ("ab", "ab"), ("", ""), ("x/a", "x/a")):
        assert after(upload(at=0, asset_folder=folder), folder_move(1, "a", "z")).asset_folder == expected


def test_a_folder_move_reaches_an_older_asset_that_arrives_after_it_and_no_newer_one() -> None:
    assert after(folder_move(1, "a", "z"), upload(at=0, asset_folder="a")).asset_folder == "z"
    assert after(folder_move(1, "a", "z"), upload(at=2, asset_folder="a")).asset_folder == "a"


def test_folder_moves_chain_in_the_order_in_which_they_happened() -> None:
    chain = (upload(at=0, asset_folder="a"), folder_move(1, "a", "b"), folder_move(2, "b", "c/d"))
    assert after(*chain).asset_folder == "c/d"
    assert after(*reversed(chain)).asset_folder == "c/d"
    assert after(upload(at=0, asset_folder="a"), folder_move(2, "a", "b"), folder_move(1, "b", "c")).asset_folder == "b"


def test_folders_have_rows_of_their_own() -> None:
    mirror = MemoryMirror()
    events = [
        {"notification_type": "create_folder", "folder_path": path, "folder_name": path} | triggered(at)
        for at, path in enumerate(("a", "a/b", "c", "d"))
    ]
    deleted = {"notification_type": "delete_folder", "folder_path": "c", "folder_name": "c"} | triggered(5)
    mirror.apply([folder_move(6, "a", "z"), *reversed(events), deleted])
    assert sorted(mirror.folders) == ["d", "z", "z/b"]


def moderation(at: float, status: str, **fields: Any) -> dict[str, Any]:
    body = {"notification_type": "moderation", "asset_id": ASSET, "version": int(BEGINNING.timestamp()), "moderation_kind": "aws"}
    return body | {"moderation_status": status} | triggered(at) | fields


def test_a_verdict_replaces_pending_even_when_dated_by_the_upload_that_ordered_it() -> None:
    pending = upload(at=0, moderation=[{"kind": "aws", "status": "pending"}, {"kind": "other", "status": "pending"}])
    for bodies in ((pending, moderation(0, "approved")), (moderation(0, "approved"), pending)):
        assert after(*bodies).moderation == {"aws": {"status": "approved"}, "other": {"status": "pending"}}


def test_a_rejected_asset_is_a_placeholder_and_asked_about() -> None:
    asset = after(upload(at=0), moderation(1, "rejected"))
    assert (asset.placeholder, asset.format) == (True, "png")
    assert asked_by(upload(at=0), moderation(1, "rejected")) == [(ASSET, "rejected: a placeholder has taken its place")]


def test_results_of_jobs_do_not_resurrect() -> None:
    late = [moderation(9, "approved"), {"notification_type": "explode", "asset_id": ASSET, "pages": 3} | triggered(9)]
    late.append(
        {"notification_type": "eager", "asset_id": ASSET, "eager": [{"transformation": "w_1", "bytes": 5}]} | triggered(9)
    )
    asset = after(upload(at=0), delete(ASSET, at=1), *late)
    assert asset.deleted_at is not None
    assert asset.derived == {"w_1": {"bytes": 5}, "explode": {"pages": 3}}


def test_derivation_touches_nothing_but_derived() -> None:
    assert changed_by_last(upload(at=0), orjson.loads(documented("12")) | {"asset_id": ASSET}) == ("derived",)


def test_a_snapshot_yields_to_an_event_of_the_same_time() -> None:
    for bodies in ((snapshot(1, display_name="read"), upload(at=1)), (upload(at=1), snapshot(1, display_name="read"))):
        assert after(*bodies).display_name == "jeans"


def test_a_brief_snapshot_leaves_the_rest_of_the_content_alone() -> None:
    version = upload(at=0)["version"]
    asset = after(upload(at=0, etag="e"), snapshot(1, version=version, bytes=5))
    assert (asset.etag, asset.bytes, asset.format) == ("e", 5, "png")


def test_a_snapshot_of_newer_content_leaves_nothing_of_the_older() -> None:
    asset = after(upload(at=0, etag="e", pages=7), snapshot(1, version=upload(at=0)["version"] + 1, bytes=5))
    assert (asset.etag, asset.bytes, asset.format, asset.details) == (None, 5, None, {})


def test_an_empty_placeholder_is_what_remains_of_a_deleted_asset_with_a_backup() -> None:
    assert after(upload(at=0), snapshot(1, placeholder=True, bytes=0)).deleted_at is not None


def test_an_empty_placeholder_of_a_rejected_asset_says_nothing_of_its_existence() -> None:
    rejected = snapshot(2, placeholder=True, bytes=0, moderation=[{"kind": "aws", "status": "rejected"}])
    assert after(upload(at=0), rejected).deleted_at is None
    assert after(upload(at=0), delete(at=1), rejected).deleted_at is not None


def test_a_reading_does_not_move_the_time_of_a_delete() -> None:
    asset = after(upload(at=0), delete(at=1), snapshot(2, placeholder=True, bytes=0))
    assert asset.deleted_at == BEGINNING + timedelta(seconds=1)


def test_a_reading_of_newer_content_ends_the_placeholder() -> None:
    version = upload(at=0)["version"]
    assert not after(upload(at=0), moderation(1, "rejected"), snapshot(2, version=version + 2, bytes=5)).placeholder


@pytest.mark.parametrize("kind", ["restore_asset_version", "publish", "info", "related_assets", "generate_archive", "brand_new"])
def test_what_does_not_say_what_changed_is_asked_about(kind: str) -> None:
    body = {"notification_type": kind, "asset_id": ASSET} | triggered(5)
    assert asked_by(upload(at=0), body) == [(ASSET, f"{kind} does not say what has changed")]


def test_a_restore_makes_alive() -> None:
    assert (
        after(delete(at=1), {"notification_type": "restore_asset_version", "asset_id": ASSET} | triggered(2)).deleted_at is None
    )


@pytest.mark.parametrize("kind", ["error", "report", "proof_status_changed", "invalidate_custom_cdn", "multi", "sprite"])
def test_some_types_are_recorded_and_change_nothing(kind: str) -> None:
    mirror = MemoryMirror()
    (line,) = mirror.apply([{"notification_type": kind, "asset_id": ASSET} | triggered(1)]).lines
    assert (line.outcome, bool(line.reason), mirror.rows, mirror.refetches) == ("ignored", True, {}, [])


def test_what_was_only_named_is_adopted_by_the_asset_that_has_the_name() -> None:
    nameless = several("resource_tags_changed", resource(None, added=["late"], removed=[]), at=5)
    mirror = MemoryMirror()
    mirror.apply([nameless])
    assert [(key.asset_id, asset.name) for key, asset in mirror.rows.items()] == [
        (f"image/upload/name-of-{ASSET}", AssetName("image", "upload", f"name-of-{ASSET}"))
    ]
    assert mirror.refetches[0].reason == "its upload was not seen"
    mirror.apply([upload(at=1, tags=["early"])])
    (asset,) = mirror.rows.values()
    assert (asset.asset_id, asset.tags) == (ASSET, ["early", "late"])
    mirror.apply([nameless, several("resource_tags_changed", resource(None, removed=["early"]), at=6)])
    assert mirror.asset(ASSET).tags == ["late"]
    assert len(mirror.rows) == 1


def test_two_resources_of_one_public_id_in_a_map_are_both_read_and_asked_about() -> None:
    raw = (
        b'{"notification_type": "move", "resources": {"a": {"resource_type": "image", "type": "upload", "to_asset_folder": "f"},'
        b' "a": {"resource_type": "video", "type": "upload", "to_asset_folder": "g"}}}'
    )
    mirror = MemoryMirror()
    mirror.apply([raw])
    assert {asset.asset_id: asset.asset_folder for asset in mirror.rows.values()} == {
        "image/upload/a": "f",
        "video/upload/a": "g",
    }
    assert {refetch.reason for refetch in mirror.refetches} >= {"its public id stands twice in one notification"}


def test_every_documented_body_and_shape_is_understood(payload: bytes) -> None:
    mirror = MemoryMirror()
    lines = mirror.apply([payload]).lines
    poll_envelope = "messages" in orjson.loads(payload)
    assert {line.outcome for line in lines} <= ({"ignored"} if poll_envelope else {"applied", "refetch"})


REALISTIC: dict[str, dict[str, Any]] = {
    "31": {"folder_path": "a/b", "folder_name": "b"},
    "32": {"folder_path": "a/b", "folder_name": "b"},
    "33": {"from_path": "a", "to_path": "b", "status": "completed"},
    "36": {"resources": {"jeans": resource(previous_metadata={}, new_metadata={"in_stock": 50, "colours": ["red"]})}},
    "38": {"resources": [resource(previous_access_control=[], new_access_control=[{"access_type": "token"}])]},
    "39": {"asset_id": ASSET, "action_type": "add", "total_failed": 0, "total_success": 1},
}


@pytest.mark.parametrize("number", REALISTIC)
def test_every_shape_filled_with_realistic_values_is_understood(number: str) -> None:
    (file,) = (PAYLOADS / "shapes").glob(f"{number}*")
    shape = orjson.loads(file.read_bytes())
    assert set(REALISTIC[number]) <= set(shape)
    (line,) = MemoryMirror().apply([shape | REALISTIC[number] | triggered(1)]).lines
    assert line.outcome == ("refetch" if number == "39" else "applied")


def missing(at: float, **fields: Any) -> dict[str, Any]:
    return {"notification_type": "missing", "resources": [{"asset_id": ASSET} | fields]} | triggered(at)


def test_an_asset_that_a_reading_did_not_find_is_gone_until_it_is_seen_again() -> None:
    assert after(upload(at=0), missing(2)).deleted_at is not None
    assert after(upload(at=0), missing(2), upload(at=3)).deleted_at is None
    assert after(missing(2), upload(at=0)).deleted_at is not None


def test_a_reading_that_found_nothing_yields_to_an_event_of_the_same_time() -> None:
    assert after(upload(at=2), missing(2)).deleted_at is None


def test_an_asset_that_was_not_found_keeps_its_name() -> None:
    assert after(upload(at=0, public_id="x"), missing(2, public_id="y", resource_type="image", type="upload")).public_id == "x"
