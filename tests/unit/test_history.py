"""An asset's history, folded from statements in whatever order they lie on the log."""

import random
from datetime import timedelta
from typing import Any

import orjson
import pytest

from schemas.asset import AssetKey, AssetName
from service.mirror.entry import understand
from service.replay.history import NothingKnownError, NotYetError, Told, moments, state_at
from service.replay.subject import AmbiguousAssetError, Subject
from tests.bodies import ASSET, BEGINNING, CLOUD, delete, envelope, rename, triggered, upload
from tests.folding import FakeRecord, MemoryMirror

OTHER = "c" * 32
X, Y = (AssetName("image", "upload", public_id) for public_id in "xy")


def tagged(at: float, public_id: str, tag: str) -> dict[str, Any]:
    resource = {"public_id": public_id, "resource_type": "image", "type": "upload", "added": [tag]}
    return {"notification_type": "resource_tags_changed", "resources": [resource]} | triggered(at)


def told(*bodies: dict[str, Any], cloud: str = CLOUD) -> list[Told]:
    raws = [(body["notification_type"], orjson.dumps(body)) for body in bodies]
    records = [FakeRecord(raw, at, tuple(envelope(raw, kind, cloud=cloud).to_headers())) for at, (kind, raw) in enumerate(raws)]
    return [Told(entry, statement) for entry in map(understand, records) for statement in entry.statements]


def test_the_order_on_the_log_leaves_no_trace_and_the_end_is_the_row() -> None:
    bodies = [
        upload(at=1, public_id="x", asset_folder="a", tags=["t"]),
        {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": "b"} | triggered(2),
        rename(at=3, to="y", from_public_id="x"),
        delete(at=4, public_id="y"),
        upload(at=5, public_id="y", asset_folder="b", tags=["u"]),
    ]
    mirror = MemoryMirror()
    mirror.apply(bodies)
    row = mirror.asset(ASSET)
    for seed in range(10):
        random.Random(seed).shuffle(bodies)
        history = moments(Subject(CLOUD, ASSET), told(*bodies))
        assert [sorted(moment.changed)[:2] for moment in history[1:]] == [
            ["asset_folder"], ["public_id"], ["deleted_at"], ["deleted_at", "tags"],
        ]  # fmt: skip
        last = history[-1].asset
        assert last is not None
        assert (last.clocks, last.tags, last.asset_folder, last.revision) == (row.clocks, row.tags, row.asset_folder, 5)


def test_a_name_means_whoever_had_it_then() -> None:
    bodies = [
        upload(OTHER, at=1, public_id="x", tags=[]),
        tagged(2, "x", "others"),
        upload(ASSET, at=3, public_id="y", tags=[]),
        rename(OTHER, at=4, to="z", from_public_id="x"),
        rename(ASSET, at=5, to="x", from_public_id="y"),
        tagged(6, "x", "ours"),
    ]
    ours = Subject(CLOUD, ASSET, frozenset({X, Y}))
    first = told(bodies[0])[0].statement
    assert first is not None
    assert ours.is_rivalled(CLOUD, first)
    history = moments(ours, told(*bodies))
    assert [moment.told.type for moment in history] == ["upload", "rename", "resource_tags_changed"]
    assert history[-1].changed == {"tags": ([], ["ours"])}


def test_what_was_only_named_before_it_had_an_id_is_part_of_its_history() -> None:
    bodies = [tagged(1, "x", "early"), upload(at=2, public_id="x", tags=["t"])]
    history = moments(Subject(CLOUD, ASSET, frozenset({X})), told(*bodies))
    early, uploaded = (moment.changed for moment in history)
    assert early == {"tags": ([], ["early"])}
    assert uploaded["format"] == (None, "png")


def test_the_state_of_a_time_is_that_after_the_last_moment_until_then() -> None:
    history = moments(Subject(CLOUD, ASSET), told(upload(at=1), delete(at=3)))
    assert state_at(ASSET, history, BEGINNING + timedelta(seconds=2.9)).deleted_at is None
    assert state_at(ASSET, history, BEGINNING + timedelta(seconds=3)).deleted_at is not None
    with pytest.raises(NotYetError, match="before 2026-01-01 00:00:01"):
        state_at(ASSET, history, BEGINNING)


def test_an_asset_of_two_clouds_must_be_told_apart() -> None:
    both = [*told(upload(at=1)), *told(upload(at=1), cloud="other")]
    with pytest.raises(AmbiguousAssetError, match=f"{ASSET} of {CLOUD}, {ASSET} of other"):
        moments(Subject(None, ASSET), both)
    (moment,) = moments(Subject("other", ASSET), both)
    assert moment.asset is not None
    assert moment.asset.key == AssetKey("other", ASSET)
    with pytest.raises(NothingKnownError):
        moments(Subject(CLOUD, OTHER), both)


def test_needles_are_bytes_that_stand_in_json_and_urls_as_they_are() -> None:
    subject = Subject(CLOUD, ASSET, frozenset({AssetName("image", "upload", "möbel/stuhl_1 (2)")}))
    assert set(subject.needles()) == {ASSET.encode(), b"stuhl_1"}
    # of an asset that was only ever named, its key stands nowhere
    assert Subject(CLOUD, "image/upload/x", frozenset({X})).needles() == [b"x"]
    assert Subject(CLOUD, ASSET, frozenset({AssetName("image", "upload", "椅子")})).needles()[0] == b""
