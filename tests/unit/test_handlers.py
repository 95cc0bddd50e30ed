from datetime import UTC, datetime
from typing import Any

import orjson

from handlers.merge import Merged, merge
from handlers.registry import HANDLERS, interpret
from schemas.asset import Asset, AssetKey, AssetName, Group
from tests.bodies import ASSET, CLOUD, delete, documented, notification, rename, upload


def after(*bodies: dict[str, Any] | bytes) -> Asset:
    """The one asset that the bodies are about."""
    return merged(*bodies).asset


def merged(*bodies: dict[str, Any] | bytes) -> Merged:
    asset, last = None, None
    for body in bodies:
        (change,) = interpret(notification(body))
        last = merge(asset, AssetKey(CLOUD, change.asset_id or str(change.name)), change)
        asset = last.asset
    assert last is not None
    return last


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
    assert asset.moderation == [{"status": "pending", "kind": "google_video_moderation"}]
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


def test_a_higher_version_is_newer_content_whatever_the_times_say() -> None:
    newer, older = upload(at=1, version=200, bytes=2), upload(at=2, version=100, bytes=1)
    assert after(newer, older).bytes == 2
    assert after(older, newer).bytes == 2


def test_a_duplicate_changes_nothing() -> None:
    once, twice = merged(upload()), merged(upload(), upload())
    assert once.changed
    assert not twice.changed
    assert twice.asset is not once.asset
    assert twice.asset == once.asset


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
    same_later = merged(upload(at=1), upload(at=2, version=int(orjson.loads(orjson.dumps(upload(at=1)))["version"])))
    assert not same_later.changed
    assert same_later.asset.clocks[Group.EXISTENCE].startswith("1767225602")
    assert same_later.asset.revision == 1


def test_a_body_that_names_no_asset_means_nothing() -> None:
    for body in (
        upload(public_id=None) | {"asset_id": None},
        rename(at=1, to=""),
        rename(at=1, to="new", from_public_id=None) | {"asset_id": None},
        {"notification_type": "delete"},
        {"notification_type": "delete", "resources": [{}, 5]},
    ):
        assert interpret(notification(body)) == []


def test_a_type_without_a_handler_means_nothing_yet() -> None:
    assert interpret(notification({"notification_type": "brand_new", "asset_id": ASSET})) == []


def test_every_documented_body_can_be_interpreted(payload: bytes) -> None:
    known = orjson.loads(payload).get("notification_type") in HANDLERS
    assert bool(interpret(notification(payload))) == known
