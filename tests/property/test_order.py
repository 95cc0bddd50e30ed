"""The law of DESIGN's second chapter, as far as the handlers go: arrival leaves no trace."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.merge import merge
from handlers.registry import interpret
from schemas.asset import Asset, AssetKey
from tests.bodies import CLOUD, delete, notification, rename, upload

ASSETS = ("a" * 32, "b" * 32)
TIMES = st.integers(min_value=0, max_value=5)  # few, so that many are equal
NAMES = st.sampled_from(["left", "right", "middle"])
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=3)
ONE_ASSET = st.sampled_from(ASSETS)

UPLOADS = st.builds(
    upload,
    ONE_ASSET,
    at=TIMES,
    public_id=NAMES,
    version=st.integers(min_value=1, max_value=3),
    bytes=st.integers(min_value=0, max_value=9),
    tags=st.none() | TAGS,
    asset_folder=st.none() | st.sampled_from(["", "f", "g"]),
    context=st.none() | st.dictionaries(st.sampled_from(["alt", "caption"]), st.text(max_size=3)),
    existing=st.booleans(),
)
RENAMES = st.builds(rename, ONE_ASSET, at=TIMES, to=NAMES)
DELETES = st.builds(lambda assets, at: delete(*assets, at=at), st.lists(ONE_ASSET, min_size=1, unique=True), TIMES)
HISTORIES = st.lists(st.one_of(UPLOADS, RENAMES, DELETES), min_size=1, max_size=8)


def state(history: list[dict[str, Any]]) -> dict[AssetKey, Asset]:
    """The assets after a history, but for `revision`, which counts arrivals."""
    assets: dict[AssetKey, Asset] = {}
    for body in history:
        for change in interpret(notification(body)):
            assert change.asset_id is not None
            key = AssetKey(CLOUD, change.asset_id)
            assets[key] = merge(assets.get(key), key, change).asset
    return {key: replace(asset, revision=0) for key, asset in assets.items()}


@settings(max_examples=1000, deadline=None)
@given(data=st.data(), history=HISTORIES)
def test_any_order_with_any_duplicates_leaves_the_same_rows(data: st.DataObject, history: list[dict[str, Any]]) -> None:
    doubled = history + data.draw(st.lists(st.sampled_from(history), max_size=4), label="duplicates")
    shuffled = data.draw(st.permutations(doubled), label="order")
    assert state(shuffled) == state(history)


@settings(max_examples=1000, deadline=None)
@given(history=HISTORIES, cut=st.integers(min_value=0, max_value=8))
def test_folding_a_prefix_again_changes_nothing(history: list[dict[str, Any]], cut: int) -> None:
    assert state(history + history[:cut]) == state(history)
