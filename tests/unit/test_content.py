"""Which content an asset has: newer versions win, older ones come back, and a number that is no time locks nothing."""

from itertools import permutations
from typing import Any

import pytest

from schemas.asset import Asset
from tests.bodies import ASSET, BEGINNING, delete, triggered, upload
from tests.folding import MemoryMirror

START = int(BEGINNING.timestamp())
NO_TIMES = [0, 7, 1_000_000_000, START + 3600, START * 1000, 2**62]
HOUR = 3600


def reading(read: float, *, at: float = 0, **fields: Any) -> dict[str, Any]:
    """As the account shows at `read` what was uploaded at `at`."""
    shown = {name: value for name, value in upload(at=at, format=None, **fields).items() if value is not None}
    del shown["notification_type"], shown["notification_context"]
    return {"notification_type": "snapshot", "resources": [shown]} | triggered(read)


def restored(at: float) -> dict[str, Any]:
    return {"notification_type": "restore_asset_version", "asset_id": ASSET} | triggered(at)


def signed_late(*bodies: dict[str, Any]) -> Asset:
    """The asset after bodies that were all signed a day later."""
    mirror = MemoryMirror()
    mirror.apply(bodies, signed_at=START + 24 * HOUR)
    (asset,) = mirror.rows.values()
    return asset._replace(revision=0)


def in_any_order(*bodies: dict[str, Any]) -> Asset:
    """The asset after the bodies, which no order changes."""
    first = signed_late(*bodies)
    for order in permutations(bodies):
        assert signed_late(*order) == first
    return first


def version(at: float) -> int:
    return START + int(at)


def test_a_higher_version_is_newer_content_whatever_the_times_say() -> None:
    newer, older = upload(at=1, version=version(20), bytes=2), upload(at=30, version=version(10), bytes=1)
    assert in_any_order(newer, older).bytes == 2


def test_a_complete_reading_brings_back_a_lower_version() -> None:
    first, second = upload(at=10, bytes=1, etag="one", pages=2), upload(at=20, bytes=2, etag="two", pages=9)
    ended, back = delete(at=30), restored(40)
    asset = in_any_order(first, second, ended, back, reading(43, at=10, bytes=1, etag="one", pages=2))
    assert (asset.version, asset.bytes, asset.etag, asset.details) == (version(10), 1, "one", {"pages": 2})
    assert asset.deleted_at is None


def test_nothing_of_the_newer_content_stays_with_the_older() -> None:
    first, second = upload(at=10, bytes=1), upload(at=20, bytes=2, etag="two", pages=9)
    asset = in_any_order(first, second, reading(40, at=10, bytes=1, width=5))
    assert (asset.bytes, asset.width, asset.etag, asset.details) == (1, 5, None, {})


def test_an_upload_after_a_restore_is_newer_than_what_was_restored() -> None:
    uploads = [upload(at=at, bytes=at) for at in (10, 20, 50)]
    assert in_any_order(*uploads, reading(40, at=10, bytes=10)).bytes == 50
    assert in_any_order(*uploads, reading(40, at=10, bytes=10), reading(60, at=50, bytes=50)).bytes == 50


def test_several_versions_are_restored_one_after_the_other() -> None:
    uploads = [upload(at=at, bytes=at) for at in (10, 20)]
    back = [reading(30, at=10, bytes=10), reading(40, at=20, bytes=20), reading(50, at=10, bytes=10)]
    assert in_any_order(*uploads, *back[:2]).bytes == 20
    assert in_any_order(*uploads, *back).bytes == 10


def test_a_reading_of_the_same_content_takes_nothing_from_it() -> None:
    stored = upload(at=10, etag="e", version_id="v", pages=7)
    asset = in_any_order(stored, reading(HOUR, at=10, uploaded_at="2026-01-01T00:00:10Z"))
    assert (asset.etag, asset.version_id, asset.details) == ("e", "v", {"pages": 7})
    assert asset.uploaded_at is not None


def test_a_reading_that_is_older_than_an_upload_yields_to_it() -> None:
    stored, later = upload(at=10, bytes=1), upload(at=20.7, bytes=2)
    assert in_any_order(stored, later, reading(20, at=10, bytes=1)).bytes == 2  # readings are dated by whole seconds


def test_what_a_stale_replica_says_does_not_last() -> None:
    stored, later, stale = upload(at=10, bytes=1), upload(at=20, bytes=2), reading(22, at=10, bytes=1)
    assert in_any_order(stored, later, stale, reading(25, at=20, bytes=2)).bytes == 2
    assert in_any_order(stored, later, stale, upload(at=24, bytes=3)).bytes == 3


def test_a_verdict_on_what_was_replaced_makes_no_placeholder() -> None:
    verdict = {"notification_type": "moderation", "asset_id": ASSET, "version": version(10), "moderation_kind": "manual"}
    verdict |= {"moderation_status": "rejected"} | triggered(HOUR)
    assert in_any_order(upload(at=10), verdict).placeholder
    assert not in_any_order(upload(at=10), upload(at=20), verdict).placeholder


@pytest.mark.parametrize("odd", NO_TIMES)
def test_a_version_that_is_no_time_locks_nothing(odd: int) -> None:
    mirror = MemoryMirror()
    mirror.apply([upload(at=1, version=odd, bytes=1)], signed_at=version(1))
    assert (mirror.asset(ASSET).version, mirror.asset(ASSET).bytes) == (odd, 1)
    mirror.apply([upload(at=120, bytes=5)], signed_at=version(120))
    assert mirror.asset(ASSET).bytes == 5
    mirror.apply([upload(at=240, version=odd, bytes=6)], signed_at=version(240))
    assert mirror.asset(ASSET).bytes == 6
    mirror.apply([reading(360, at=120, bytes=5)], signed_at=version(360))
    assert mirror.asset(ASSET).bytes == 5


@pytest.mark.parametrize("odd", [None, -1, "x", [], *NO_TIMES])
def test_of_versions_that_are_no_times_the_later_event_wins(odd: object) -> None:
    for other in (odd, START * 1000 + 1, 3):
        one, two = upload(at=1, version=odd, bytes=1), upload(at=2, version=other, bytes=2)
        for bodies in ((one, two), (two, one)):
            mirror = MemoryMirror()
            mirror.apply(bodies, signed_at=version(2))
            assert mirror.asset(ASSET).bytes == 2


def test_a_version_of_long_before_the_event_does_not_lose_to_one_that_is_no_time() -> None:
    """As when an upload's `version` is a year off: the events' own times are all there is."""
    odd, right = upload(at=HOUR, version=START * 1000, bytes=1), upload(at=HOUR + 120, version=version(-365 * 24 * HOUR), bytes=5)
    assert in_any_order(odd, right).bytes == 5


def test_an_event_that_tells_of_an_old_version_long_after_it_brings_it_back() -> None:
    assert in_any_order(upload(at=10, bytes=1), upload(at=20, bytes=2), upload(at=HOUR, version=version(10), bytes=1)).bytes == 1


def test_a_reading_without_a_version_says_nothing_about_content_that_has_one() -> None:
    assert in_any_order(upload(at=10, bytes=1), reading(60, version=None, bytes=9)).bytes == 1
    assert in_any_order(reading(60, version=None, bytes=9), reading(70, version=None, bytes=8, pages=2)).bytes == 8


def asked_by(*bodies: dict[str, Any]) -> list[str]:
    mirror = MemoryMirror()
    for body in bodies:
        mirror.apply([body], signed_at=START + 24 * HOUR)
    return [refetch.reason for refetch in mirror.refetches]


def test_a_reading_that_goes_back_soon_after_an_upload_may_be_a_stale_one_and_is_made_again() -> None:
    uploads = [upload(at=at, bytes=at) for at in (10, 20)]
    assert asked_by(*uploads, reading(25, at=10)) == ["older content was read soon after newer was told of"]
    assert asked_by(*uploads, reading(25, at=10), reading(30, at=10)) == ["older content was read soon after newer was told of"]
    assert not asked_by(*uploads, reading(HOUR, at=10))
    assert not asked_by(*uploads, reading(25, at=20))


def test_what_tells_of_older_content_but_later_is_asked_about() -> None:
    uploads = [upload(at=10), upload(at=20)]
    assert asked_by(*uploads, upload(at=60, version=version(10))) == ["it tells of older content, but later"]
    assert asked_by(upload(at=10), upload(at=20, version=version(40)), reading(30, at=10)) == [
        "it tells of older content, but later"
    ]
    assert not asked_by(*reversed(uploads))
    assert not asked_by(*uploads, reading(15, at=10))
    assert not asked_by(*uploads, uploads[0])


def test_an_asset_that_only_readings_tell_of_is_not_asked_about_for_its_upload() -> None:
    assert not asked_by(reading(30, at=10))
    assert not asked_by(reading(30, version=None))
    assert asked_by(restored(40))
