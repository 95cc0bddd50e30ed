"""In what a row differs from a reading, and in what it only seems to."""

from datetime import timedelta
from typing import Any

import pytest

from schemas.asset import Asset
from schemas.folder import FolderEvent
from service.cloudinary.reading import Reading
from service.cloudinary.resources import stated
from service.reconcile.difference import Difference, Kind, difference
from tests.bodies import ASSET, BEGINNING, CLOUD, delete, triggered, upload
from tests.folding import MemoryMirror

_ENVELOPE = ("notification_type", "notification_context")


def resource(*, at: float = 0, **fields: Any) -> dict[str, Any]:
    """As a listing shows what `upload` tells of."""
    shown = {name: value for name, value in upload(at=at).items() if name not in _ENVELOPE} | fields
    return {name: value for name, value in shown.items() if value is not None}


def reading(*, read: float, **fields: Any) -> Reading:
    return Reading(stated(resource(**fields)), BEGINNING + timedelta(seconds=read))


def mirror_of(*bodies: dict[str, Any]) -> MemoryMirror:
    mirror = MemoryMirror()
    mirror.apply(bodies)
    return mirror


def compare(mirror: MemoryMirror, read: Reading, moves: list[FolderEvent] | None = None) -> Difference | None:
    row: Asset | None = next(iter(mirror.rows.values()), None)
    return difference(row, CLOUD, read, moves or [])


def tags_changed(at: float, *added: str) -> dict[str, Any]:
    one = {"asset_id": ASSET, "public_id": f"name-of-{ASSET}", "resource_type": "image", "type": "upload", "added": list(added)}
    return {"notification_type": "resource_tags_changed", "resources": [one]} | triggered(at)


def test_what_the_mirror_was_told_does_not_differ() -> None:
    assert compare(mirror_of(upload()), reading(read=10)) is None


def test_an_asset_without_a_row_is_missing() -> None:
    assert compare(mirror_of(), reading(read=10)) == Difference(Kind.MISSING, {})


def test_newer_content_makes_a_row_stale() -> None:
    found = compare(mirror_of(upload()), reading(at=5, bytes=7, read=10))
    assert found is not None
    assert found.kind is Kind.STALE
    assert found.fields["bytes"] == {"mirror": 147954, "account": 7}


def test_older_content_that_was_restored_makes_a_row_stale() -> None:
    found = compare(mirror_of(upload(at=5, bytes=7)), reading(at=0, read=10))
    assert found is not None
    assert found.kind is Kind.STALE
    assert found.fields["bytes"] == {"mirror": 7, "account": 147954}


def test_older_content_that_was_read_before_the_newer_came_is_no_drift() -> None:
    assert compare(mirror_of(upload(at=5, bytes=7)), reading(at=0, read=4)) is None


@pytest.mark.parametrize("version", [0, 1_000_000_000, int(BEGINNING.timestamp()) * 1000])
def test_a_version_that_is_no_time_neither_hides_drift_nor_makes_any(version: int) -> None:
    mirror = mirror_of(upload(version=version, etag="e", pages=2))
    assert compare(mirror, reading(read=10, version=version)) is None
    found = compare(mirror, reading(read=10, bytes=7))
    assert found is not None
    assert found.kind is Kind.STALE


def test_labels_that_differ_are_told_with_both_values() -> None:
    found = compare(mirror_of(upload(tags=["x"])), reading(read=10, tags=["y"], context={"custom": {"alt": "A"}}))
    assert found == Difference(
        Kind.FIELD,
        {"tags": {"mirror": ["x"], "account": ["y"]}, "context": {"mirror": {}, "account": {"alt": "A"}}},
    )


def test_labels_that_a_listing_leaves_out_are_not_there() -> None:
    mirror = mirror_of(upload(context={"custom": {"alt": "A"}}, metadata={"brand": 1}))
    found = compare(mirror, reading(read=10))
    assert found is not None
    assert found.fields == {
        "context": {"mirror": {"alt": "A"}, "account": {}},
        "metadata": {"mirror": {"brand": 1}, "account": {}},
    }


def test_a_listing_that_was_not_asked_for_labels_says_nothing_of_them() -> None:
    mirror = mirror_of(upload(tags=["x"], context={"custom": {"alt": "A"}}, metadata={"brand": 1}))
    assert compare(mirror, reading(read=10, tags=None)) is None


def test_what_no_notification_tells_is_completed_but_is_no_drift() -> None:
    found = compare(mirror_of(upload()), reading(read=10, uploaded_at="2026-01-01T00:00:00Z", backup=True))
    assert found is not None
    assert found.kind is None
    assert found.fields.keys() == {"uploaded_at", "details"}


def test_a_detail_that_has_another_value_is_drift() -> None:
    found = compare(mirror_of(upload(pages=2)), reading(read=10, pages=3))
    assert found is not None
    assert found.kind is Kind.FIELD


def test_a_row_that_was_deleted_and_is_listed_is_a_wrong_tombstone() -> None:
    found = compare(mirror_of(upload(), delete(at=3)), reading(read=10))
    assert found is not None
    assert (found.kind, found.fields["deleted_at"]["account"]) == (Kind.TOMBSTONE, None)


def test_a_placeholder_is_deleted_on_both_sides_or_a_tombstone_is_missing() -> None:
    placeholder = reading(read=10, bytes=0, placeholder=True)
    assert compare(mirror_of(upload(), delete(at=3)), placeholder) is None
    assert compare(mirror_of(), placeholder) is None
    found = compare(mirror_of(upload()), placeholder)
    assert found is not None
    assert (found.kind, found.fields["deleted_at"]) == (Kind.TOMBSTONE, {"mirror": None, "account": placeholder.read_at})


def test_a_rejected_placeholder_is_not_deleted() -> None:
    rejected = reading(read=10, bytes=0, placeholder=True, moderation=[{"kind": "manual", "status": "rejected"}])
    found = compare(mirror_of(upload()), rejected)
    assert found is not None
    assert "deleted_at" not in found.fields


def test_what_was_changed_after_the_reading_is_known_better_by_the_mirror() -> None:
    assert compare(mirror_of(upload(), tags_changed(11, "new")), reading(read=10)) is None


def test_a_row_from_the_far_future_does_not_hide_its_drift() -> None:
    found = compare(mirror_of(upload(), tags_changed(86400, "new")), reading(read=10))
    assert found is not None
    assert found.kind is Kind.FIELD


def test_a_folder_that_moves_have_reached_does_not_differ() -> None:
    move = {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": "b"} | triggered(5)
    mirror = mirror_of(upload(asset_folder="a/c"), move)
    assert compare(mirror, reading(read=10, asset_folder="b/c"), mirror.folder_events) is None
    found = compare(mirror, reading(read=10, asset_folder="a/c"), mirror.folder_events)
    assert found is not None
    assert found.fields == {"asset_folder": {"mirror": "b/c", "account": "a/c"}}
