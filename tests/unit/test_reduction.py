"""Events that would be larger than Kafka takes."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.asset import Asset, Group
from schemas.event import Cause, asset_event, state_of
from schemas.reduction import KEPT, reduce_about, reduce_state, reduced

MOMENT = datetime(2026, 11, 25, tzinfo=UTC)
CAUSE = Cause("upload", "api:1", "topic", 1, 2)
MANY = {f"k{number}": "v" * 90 for number in range(130_000)}  # about 13 MB in small pieces
LARGE = "x" * 13_000_000
MOST = 10 * 1024**2

Field = tuple[str, object, Group]
FIELDS: list[Field] = [
    ("context", {"a": LARGE}, Group.CONTEXT),
    ("metadata", MANY, Group.METADATA),
    ("tags", sorted(MANY), Group.TAGS),
    ("derived", {"t": {"url": LARGE}}, Group.DERIVED),
    ("details", MANY, Group.DETAILS),
    ("moderation", {"manual": {"status": LARGE}}, Group.MODERATION),
    ("access_control", [{"access_type": LARGE}], Group.ACCESS),
    ("public_id", LARGE, Group.NAME),
    ("display_name", LARGE, Group.DISPLAY),
    ("etag", LARGE, Group.CONTENT),
]


def asset(**fields: Any) -> Asset:
    return Asset("acme", "a" * 32, "p", "image", "upload", revision=7)._replace(**fields)


@pytest.mark.parametrize(("name", "value", "group"), FIELDS, ids=[field[0] for field in FIELDS])
def test_whatever_makes_an_asset_too_large_is_left_out_and_named_and_all_else_stays(
    name: str, value: object, group: Group
) -> None:
    large = asset(format="png", **{name: value})
    if name == "tags":
        large = large._replace(tags=[f"{tag}{'v' * 90}" for tag in sorted(MANY)])
    event = asset_event(asset(format="png", revision=6), large, (group,), MOMENT, CAUSE)
    assert len(event.state or b"") + len(event.about) <= MOST
    state, about = orjson.loads(event.state or b""), orjson.loads(event.about)
    assert state["omitted"] == about["omitted"] == [name]
    whole = orjson.loads(orjson.dumps({field: getattr(asset(format="png"), field) for field in state if field != "omitted"}))
    assert state == whole | {"omitted": [name]}
    assert name not in state
    assert about["changed"] == {name: {"from": None, "to": None, "omitted": True}}
    assert about["cause"]["notification_type"] == "upload"
    assert event.revision == 7


def test_what_it_was_goes_before_what_it_is() -> None:
    half = "x" * 6_000_000
    event = asset_event(asset(context={"a": "y" * 6_000_000}), asset(context={"a": half}), (Group.CONTEXT,), MOMENT, CAUSE)
    state, about = orjson.loads(event.state or b""), orjson.loads(event.about)
    assert state["context"] == {"a": half}
    assert "omitted" not in state
    assert about["omitted"] == ["context"]
    assert about["changed"]["context"] == {"from": None, "to": None, "omitted": True}


def test_a_small_change_of_a_large_asset_names_what_the_asset_lacks_and_tells_the_change() -> None:
    large = asset(details={"ocr": LARGE})
    event = asset_event(large, large._replace(tags=["t"]), (Group.TAGS,), MOMENT, CAUSE)
    state, about = orjson.loads(event.state or b""), orjson.loads(event.about)
    assert state["omitted"] == about["omitted"] == ["details"]
    assert about["changed"] == {"tags": {"from": [], "to": ["t"]}}


def test_an_asset_of_usual_size_is_told_whole() -> None:
    event = asset_event(None, asset(context={"a": "b"}), (Group.CONTEXT,), MOMENT, CAUSE)
    assert b"omitted" not in (event.state or b"") + event.about


def test_the_same_asset_has_the_same_state_whatever_is_told_beside_it() -> None:
    large = asset(context={"a": "x" * 9_000_000}, metadata={"b": "y" * 3_000_000})
    told = [
        asset_event(before, large, tuple(Group), MOMENT, cause).state
        for before in (None, asset(context={"a": "z" * 9_000_000}))
        for cause in (CAUSE, CAUSE._replace(triggered_by="t" * 1_000_000))
    ]
    assert set(told) == {state_of(large)}
    assert orjson.loads(state_of(large))["omitted"] == ["context"]


def test_who_did_it_is_left_out_where_nothing_else_helps() -> None:
    event = asset_event(None, asset(), (), MOMENT, CAUSE._replace(triggered_by="t" * 11_000_000))
    about = orjson.loads(event.about)
    assert (about["cause"]["triggered_by"], about["omitted"]) == (None, ["triggered_by"])
    assert about["cause"]["offset"] == CAUSE.offset


@pytest.mark.parametrize("most", [200, 1000, 5000, 20_000, 100_000])
def test_an_event_is_reduced_to_any_size_that_its_identity_leaves_room_for(most: int) -> None:
    whole = asset_event(None, asset(tags=["t" * 50] * 200, context={"c": "v" * 3000}, etag="e"), tuple(Group), MOMENT, CAUSE)
    state, about = reduced(whole.state, whole.about, most)
    assert len(state or b"") + len(about) <= max(most, 2100)
    now, told = orjson.loads(state or b""), orjson.loads(about)
    assert now.keys() >= KEPT - {"omitted"}
    assert set(now.get("omitted", ())) <= set(told.get("omitted", ()))
    again = reduced(state, about, most)
    assert [set(orjson.loads(part or b"")) for part in again] == [set(now), set(told)]


def test_what_was_left_out_before_stays_named() -> None:
    once = reduce_state({"cloud": "c", "a": "x" * 100, "b": "y" * 50}, 120)
    twice = reduce_state(once, 40)
    assert (once["omitted"], twice["omitted"]) == (["a"], ["a", "b"])
    told = reduce_about({"changed": {"a": {"from": 1, "to": 2}}, "cause": {}, "omitted": ["a"]}, 1000, ["b"])
    assert told["omitted"] == ["a", "b"]
    assert told["changed"] == {"a": {"from": 1, "to": 2}}


def test_what_is_no_json_is_an_error_of_its_own() -> None:
    with pytest.raises(ValueError, match="unexpected"):
        reduced(b"{", b"{}", 10)
