"""Readings of an account that takes few at once, does not know every field, or has odd assets among the others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from service.cloudinary.client import Account
from service.cloudinary.errors import BadRequestError, UnavailableError
from service.cloudinary.habits import Most
from service.cloudinary.reading import Listing, Reader, UntrustedError
from service.cloudinary.resources import FIELDS
from tests.answering import NOON, Answering, Reply, limits
from tests.unit.test_client import answered_by

WHOLE: dict[str, Any] = {
    "public_id": "p", "resource_type": "image", "type": "upload", "version": 7, "tags": [], "etag": "e", "display_name": "P",
}  # fmt: skip


def asset(number: int, **said: Any) -> dict[str, Any]:
    return {**WHOLE, "asset_id": f"{number:032x}", "public_id": f"p{number}", **said}


def without(resource: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in names}


@asynccontextmanager
async def asking(most: int = 100, refusal: str = "Too many", poison: str = "") -> AsyncIterator[tuple[Account, list[int]]]:
    """An account of a thousand assets that takes `most` ids at once; gives the numbers of ids that it was asked for."""
    sizes: list[int] = []
    everything = {f"{number:032x}": asset(number) for number in range(1, 1001)}

    async with answered_by() as (account, server):

        def decide(_method: str, path: str, _body: bytes) -> Reply:
            query = server.queries[-1]
            if "by_asset_ids" not in path:
                return Reply(200, {"resources": []}, limits(500))
            ids = query.getall("asset_ids[]")
            sizes.append(len(ids))
            if len(ids) > most or poison in ids:
                return Reply(400, {"error": {"message": refusal}}, limits(500))
            return Reply(200, {"resources": [everything[one] for one in ids if one in everything]}, limits(500))

        server.decide = decide
        yield account, sizes


def ids(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 10, 64, 99])
async def test_too_many_at_once_are_asked_for_in_parts_and_how_many_is_remembered(most: int) -> None:
    async with asking(most) as (account, sizes):
        wanted = ids(*range(1, 131), 5000)
        found = await Reader(account).by_keys(wanted)
        assert sorted(key for keys, _ in found for key in keys) == sorted(wanted)
        assert {key for _, those in found for key in those.readings} == set(wanted) - {wanted[-1]}
        sizes.clear()
        await Reader(account).by_keys(wanted[:most])
        assert max(sizes) <= 2 * most
        for _ in range(12):  # in the end it knows to the number
            await Reader(account).by_keys(wanted)
        sizes.clear()
        await Reader(account).by_keys(wanted)
        assert set(sizes) <= {most, 131 % most}


@pytest.mark.parametrize(
    "refusal", ["Too many asset_ids: Maximum 10", "asset_ids is limited to 10 items", "The maximum is 10, got 100"]
)
async def test_a_limit_that_is_told_is_believed(refusal: str) -> None:
    async with asking(10, refusal) as (account, sizes):
        await Reader(account).by_keys(ids(*range(1, 26)))
        assert sizes == [25, 25, 10, 10, 5]  # with fields and without


async def test_an_id_that_is_refused_costs_no_other_its_answer() -> None:
    bad = "not an id, 100 %"
    async with asking(100, "Invalid asset_ids", poison=bad) as (account, sizes):
        found = await Reader(account).by_keys([*ids(*range(1, 61)), bad])
        refused = [keys for keys, those in found if those.refused is not None]
        assert refused == [[bad]]
        assert {key for _, those in found for key in those.readings} == set(ids(*range(1, 61)))
        sizes.clear()
        await Reader(account).by_keys(ids(*range(1, 61)))
        assert sizes == [60]  # it was not for their number


async def test_a_call_that_is_always_refused_says_nothing_of_any_id() -> None:
    async with answered_by(Reply(400, {"error": {"message": "no"}}, limits(500))) as (account, server):
        with pytest.raises(BadRequestError):
            await Reader(account).by_keys(ids(*range(1, 101)))
        assert len(server.requests) <= 20


@pytest.mark.parametrize("most", [1, 2, 3, 10, 100])
async def test_witnesses_are_asked_for_in_every_part(most: int) -> None:
    async with asking(most) as (account, _):
        nowhere = ids(*range(2000, 2030))
        found = await Reader(account).by_keys(nowhere, witnesses=ids(1, 2, 3))
        assert sorted(key for keys, _ in found for key in keys) == nowhere
        with pytest.raises(UntrustedError):
            await Reader(account).by_keys(nowhere, witnesses=ids(3001, 3002, 3003))


async def test_names_of_no_kind_of_asset_are_not_asked_for() -> None:
    async with asking() as (account, sizes):
        found = await Reader(account).by_keys(["../x/upload/y", "image/../z", "image/no type/a", "image/upload/b"])
        assert {key for keys, those in found for key in keys if those.refused is not None} == {
            "../x/upload/y", "image/../z", "image/no type/a",
        }  # fmt: skip
        assert sizes == []


@asynccontextmanager
async def listing(
    by_fields: list[Any] | bytes, by_flags: list[Any], cursor: Any = None
) -> AsyncIterator[tuple[Reader, Answering]]:
    async with answered_by() as (account, server):

        def decide(_method: str, _path: str, _body: bytes) -> Reply:
            if isinstance(by_fields, bytes):
                return Reply(200, by_fields, limits(500))
            shown = by_fields if "fields" in server.queries[-1] else by_flags
            return Reply(200, {"resources": shown, "next_cursor": cursor}, limits(500))

        server.decide = decide
        yield Reader(account), server


IMAGES = Listing("image")


async def test_one_odd_asset_does_not_change_how_the_others_are_read() -> None:
    odd: list[Any] = [
        without(asset(1, type="facebook"), "version"),
        without(asset(2), "tags", "type", "resource_type"),
        asset(3, version="abc", tags="x", type=None),
        None, "text", 7, ["a"], {}, {"version": 1}, {"asset_id": None, "public_id": "nothing else"},
    ]  # fmt: skip
    async with listing([asset(10), *odd, asset(11)], []) as (reader, server):
        page = await reader.page(IMAGES, None, None)
        assert len(server.requests) == 1
        assert [reading.asset_id for reading in page.readings] == ids(10, 1, 2, 3, 11)
        assert page.readings[0].resource["etag"] == page.readings[-1].resource["etag"] == "e"
        assert [reading.is_named for reading in page.readings] == [True, True, False, False, True]
        assert page.readings[0].read_at <= NOON


async def test_a_page_of_nothing_but_assets_without_a_version_is_no_reason_to_ask_otherwise() -> None:
    friends = [without(asset(number, type="facebook"), "version") for number in range(1, 4)]
    async with listing(friends, friends) as (reader, server):
        for _ in range(3):
            assert len((await reader.page(IMAGES, None, None)).readings) == 3
        assert ["fields" in query for query in server.queries] == [True, False] * 3


async def test_an_asset_that_can_t_be_read_is_left_out_alone() -> None:
    deep = b"[" * 400 + b"]" * 400
    listed = b'{"resources": [' + orjson.dumps(asset(1)) + b', {"asset_id": "x", "y": ' + deep + b"}, " + orjson.dumps(asset(2))
    async with listing(listed + b"]}", []) as (reader, _):
        readings = (await reader.page(IMAGES, None, None)).readings
        assert {reading.asset_id for reading in readings} >= set(ids(1, 2))


async def test_what_fields_do_not_bring_is_asked_for_by_flags_and_both_count() -> None:
    by_fields = [without(asset(n), "type", "display_name") for n in (1, 2, 3)]
    by_flags = [without(asset(n, version=7 if n != 3 else 8), "etag") for n in (3, 1, 4)]
    async with listing(by_fields, by_flags, "next") as (reader, server):
        for _ in range(2):
            page = await reader.page(IMAGES, None, None)
            assert [one.asset_id for one in page.readings] == ids(3, 1, 4)
            assert all(one.is_named and one.resource["display_name"] == "P" for one in page.readings)
            # of another version, the one is not the other's
            assert ["etag" in one.resource for one in page.readings] == [False, True, False]
            assert page.cursor == "next"
        assert len(server.requests) == 4


async def test_fields_that_are_not_heeded_at_all_are_not_asked_for_again() -> None:
    brief = [without(asset(1), "etag")]
    async with listing([{"asset_id": ids(1)[0], "public_id": "p1"}], brief) as (reader, server):
        for _ in range(3):
            assert (await reader.page(IMAGES, None, None)).readings[0].is_named
        assert ["fields" in query for query in server.queries] == [True, False, False, False]


def test_what_is_asked_for_field_by_field_names_the_asset() -> None:
    assert {"asset_id", "public_id", "resource_type", "type"} <= set(FIELDS)


async def test_a_listing_tells_the_resource_type_of_what_it_lists() -> None:
    nameless = [without(asset(1), "resource_type", "type")]
    async with listing(nameless, nameless) as (reader, _):
        (one,) = (await reader.page(IMAGES, None, None)).readings
        assert (one.resource["resource_type"], one.is_named) == ("image", False)
        (one,) = (await reader.page(Listing("image", "private"), "p", None)).readings
        assert one.name == ("image", "private", "p1")


@pytest.mark.parametrize(("told", "cursor"), [(None, None), ("", None), (False, None), (0, None), ("x", "x")])
async def test_a_cursor_that_says_nothing_is_the_end(told: Any, cursor: str | None) -> None:
    async with listing([asset(1)], [], told) as (reader, _):
        assert (await reader.page(IMAGES, None, None)).cursor == cursor


@pytest.mark.parametrize("told", [{"a": 1}, ["a"], 7, "a\0b", "a\nb"])
async def test_a_cursor_that_is_no_text_is_no_answer(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cloudinary.reading._ATTEMPTS", 1)
    async with listing([asset(1)], [], told) as (reader, _):
        with pytest.raises(UnavailableError, match="cursor"):
            await reader.page(IMAGES, None, None)


def test_how_many_pass_is_found_between_what_did_and_what_did_not() -> None:
    most = Most()
    assert most.size == 100
    tried = []
    while most.refused - most.passed > 1:
        tried.append(most.size)
        if most.size > 10:
            most.refuse(most.size, "no")
        else:
            most.pass_(most.size)
    assert (most.size, len(tried)) == (10, len(set(tried)))
