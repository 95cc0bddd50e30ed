from collections.abc import AsyncIterator
from typing import Any

import cloudinary.api
import cloudinary.exceptions
import pytest
from cloudinary.search import Search
from cloudinary.search_folders import SearchFolders

from standin.server import Standin
from tests.sdk import Sdk, standin_and_sdk


@pytest.fixture
async def running() -> AsyncIterator[tuple[Standin, Sdk]]:
    async with standin_and_sdk(hourly_limit=10_000, metadata_fields={"f": "string", "g": "string"}) as running:
        yield running


@pytest.fixture
def standin(running: tuple[Standin, Sdk]) -> Standin:
    return running[0]


@pytest.fixture
def sdk(running: tuple[Standin, Sdk]) -> Sdk:
    return running[1]


@pytest.fixture
def told(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    notifications: list[dict[str, Any]] = []
    monkeypatch.setattr(standin.notifier, "send", lambda notification, **_: notifications.append(notification))
    return notifications


def public_ids(answer: dict[str, Any]) -> list[str]:
    return [resource["public_id"] for resource in answer["resources"]]


async def pages(sdk: Sdk, **options: Any) -> list[list[str]]:
    answers = [await sdk(cloudinary.api.resources, **options)]
    while cursor := answers[-1].get("next_cursor"):
        answers.append(await sdk(cloudinary.api.resources, next_cursor=cursor, **options))
    return [public_ids(answer) for answer in answers]


async def test_a_listing_gives_every_asset_of_its_type_once_page_by_page(standin: Standin, sdk: Sdk) -> None:
    standin.account.seed(1201, "s/")
    standin.account.upload(public_id="s/private", type="private")
    standin.account.upload(public_id="s/video", resource_type="video")

    of_all = await pages(sdk, max_results=500)
    of_uploads = await pages(sdk, type="upload", prefix="s/00000", max_results=7)

    assert [len(page) for page in of_all] == [500, 500, 202]
    assert len({public_id for page in of_all for public_id in page}) == 1202
    assert [public_id for page in of_uploads for public_id in page] == [f"s/{number:07}" for number in range(100)]
    assert len((await sdk(cloudinary.api.resources))["resources"]) == 10
    assert standin.calls["GET", "/resources/{resource_type}"] == 4


async def test_a_listing_is_brief_unless_asked_for_more(standin: Standin, sdk: Sdk) -> None:
    standin.account.upload(public_id="a", tags=["t"], context={"k": "v"}, metadata={"f": "1"}, moderation="manual")
    standin.account.upload(public_id="b")
    full = {resource["public_id"]: resource for resource in standin.account.resources()}
    described = {"tags", "context", "metadata", "moderation"}

    brief = (await sdk(cloudinary.api.resources))["resources"]
    rich = (await sdk(cloudinary.api.resources, tags=True, context=True, metadata=True, moderations=True))["resources"]
    chosen = (await sdk(cloudinary.api.resources, fields=["etag", "tags"], context=True))["resources"]

    assert not (described | {"etag", "version_id"}) & brief[0].keys()
    a, b = sorted(rich, key=lambda resource: str(resource["public_id"]))
    assert {name: a[name] for name in described} == {name: full["a"][name] for name in described}
    assert (b["tags"], described & b.keys()) == ([], {"tags"})  # what is empty is left out, but for tags
    assert chosen[0].keys() == {"asset_id", "public_id", "etag", "tags"}


async def test_a_listing_by_creation_goes_both_ways(standin: Standin, sdk: Sdk) -> None:
    for public_id in ("b", "c", "a"):
        standin.account.upload(public_id=public_id)

    assert await pages(sdk, direction="asc", max_results=2) == [["b", "c"], ["a"]]
    assert await pages(sdk, direction="desc", max_results=2) == [["a", "c"], ["b"]]
    assert await pages(sdk, start_at="2024-01-01 00:00:00+00:00", direction="asc") == [["b", "c", "a"]]
    with pytest.raises(cloudinary.exceptions.BadRequest, match="next_cursor"):
        await sdk(cloudinary.api.resources, next_cursor="nonsense")


async def test_assets_are_found_by_each_of_their_marks(standin: Standin, sdk: Sdk) -> None:
    a = standin.account.upload(public_id="a/é x", tags=["t/1"], context={"k": "v"}, asset_folder="f/g", moderation="manual")
    standin.account.upload(public_id="b", context={"k": "w"})

    found = (
        await sdk(cloudinary.api.resources_by_ids, ["a/é x", "none"]),
        await sdk(cloudinary.api.resources_by_asset_ids, [a["asset_id"], "0" * 32]),
        await sdk(cloudinary.api.resources_by_asset_folder, "f/g"),
        await sdk(cloudinary.api.resources_by_tag, "t/1"),
        await sdk(cloudinary.api.resources_by_context, "k", "v"),
        await sdk(cloudinary.api.resources_by_moderation, "manual", "pending"),
    )

    assert [public_ids(answer) for answer in found] == [["a/é x"]] * 6
    assert len(public_ids(await sdk(cloudinary.api.resources_by_context, "k"))) == 2
    by_name = await sdk(cloudinary.api.resource, "a/é x")
    assert by_name == await sdk(cloudinary.api.resource_by_asset_id, a["asset_id"])
    assert by_name["derived"] == []
    assert (await sdk(cloudinary.api.resource, "a/é x", media_metadata=True))["etag"] == a["etag"]
    with pytest.raises(cloudinary.exceptions.NotFound, match="Resource not found"):
        await sdk(cloudinary.api.resource, "none")
    with pytest.raises(cloudinary.exceptions.BadRequest, match="10"):
        await sdk(cloudinary.api.resources_by_asset_ids, ["0" * 32] * 11)


async def test_search_finds_by_the_expressions_a_mirror_needs(standin: Standin, sdk: Sdk) -> None:
    standin.account.upload(public_id="x1", tags=["t"], asset_folder="f")
    standin.account.upload(public_id="x2", resource_type="video", context={"k": "v"})
    standin.account.upload(public_id="y y")
    standin.account.destroy("y y")
    standin.account.upload(public_id="y y")

    async def found(expression: str) -> set[str]:
        return set(public_ids(await sdk(Search().expression(expression).execute)))

    assert await found("") == {"x1", "x2", "y y"}
    assert await found("uploaded_at>1d") == {"x1", "x2", "y y"}
    assert await found("uploaded_at<1d") == set()
    assert await found("resource_type:image AND public_id:x*") == {"x1"}
    assert await found("asset_folder=f AND tags=t") == await found('folder:"f"') == {"x1"}
    assert await found('public_id="y y"') == {"y y"}
    assert await found("NOT tags=t AND bytes>=1000 AND context.k:v") == {"x2"}
    for wrong in ("public_id:", "public_id:x AND", "AND public_id:x", "nonsense=1", "bytes>many", "a b", "uploaded_at>soon"):
        with pytest.raises(cloudinary.exceptions.BadRequest, match="Invalid search expression"):
            await found(wrong)


async def test_search_pages_sorts_and_shows_what_is_asked_for(standin: Standin, sdk: Sdk) -> None:
    for number in range(5):
        standin.account.upload(public_id=f"p{number}", tags=["t"])

    search = Search().expression("tags=t").sort_by("public_id", "asc").max_results(3).with_field("tags")
    first = await sdk(search.execute)
    second = await sdk(search.next_cursor(first["next_cursor"]).execute)

    assert public_ids(first) + public_ids(second) == ["p0", "p1", "p2", "p3", "p4"]
    assert (first["total_count"], "next_cursor" in second) == (5, False)
    assert (first["resources"][0]["tags"], first["resources"][0]["status"]) == (["t"], "active")


async def test_an_update_changes_what_it_is_given_and_tells_of_each(
    standin: Standin, sdk: Sdk, told: list[dict[str, Any]]
) -> None:
    standin.account.upload(public_id="a/b", tags=["t"], context={"k": "v"}, metadata={"f": "1", "g": "2"})
    told.clear()

    changed = await sdk(
        cloudinary.api.update,
        "a/b",
        tags="",
        context="",
        metadata={"f": ""},
        asset_folder="f",
        display_name="D",
        access_control={"access_type": "anonymous"},
    )

    assert (changed["tags"], changed["metadata"], changed["asset_folder"], changed["display_name"]) == ([], {"g": "2"}, "f", "D")
    assert ("context" in changed, changed["access_control"]) == (False, [{"access_type": "anonymous"}])
    assert sorted(notification["notification_type"] for notification in told) == [
        "access_control_changed",
        "move",
        "resource_context_changed",
        "resource_display_name_changed",
        "resource_metadata_changed",
        "resource_tags_changed",
    ]
    with pytest.raises(cloudinary.exceptions.NotFound):
        await sdk(cloudinary.api.update, "none", tags="x")


async def test_a_rejected_file_becomes_a_placeholder(standin: Standin, sdk: Sdk, told: list[dict[str, Any]]) -> None:
    standin.account.upload(public_id="a", moderation="manual")

    await sdk(cloudinary.api.update, "a", moderation_status="rejected")

    asset = await sdk(cloudinary.api.resource, "a")
    assert (asset["placeholder"], asset["bytes"], asset["moderation"][0]["status"]) == (True, 0, "rejected")
    assert (told[-1]["notification_type"], told[-1]["moderation_status"]) == ("moderation", "rejected")


async def test_many_are_deleted_in_one_call_and_told_in_one_body(standin: Standin, sdk: Sdk, told: list[dict[str, Any]]) -> None:
    ids = [standin.account.upload(public_id=f"p/{number}", tags=["t"])["asset_id"] for number in range(6)]
    told.clear()

    by_ids = await sdk(cloudinary.api.delete_resources, ["p/0", "none"], invalidate=True)
    by_asset_ids = await sdk(cloudinary.api.delete_resources_by_asset_ids, ids[:2])
    await sdk(cloudinary.api.delete_resources_by_prefix, "p/2")
    await sdk(cloudinary.api.delete_resources_by_tag, "t")
    await sdk(cloudinary.api.delete_all_resources)

    assert by_ids["deleted"] == {"p/0": "deleted", "none": "not_found"}
    assert by_asset_ids["deleted"] == {ids[0]: "not_found", "p/1": "deleted"}
    assert standin.account.resources() == []
    assert [len(notification["resources"]) for notification in told] == [1, 1, 1, 3]


async def test_deleting_by_prefix_goes_a_thousand_at_a_time(standin: Standin, sdk: Sdk) -> None:
    standin.account.seed(1001, "p/")

    first = await sdk(cloudinary.api.delete_resources_by_prefix, "p/")
    second = await sdk(cloudinary.api.delete_resources_by_prefix, "p/", next_cursor=first["next_cursor"])

    assert (first["partial"], second["partial"], len(second["deleted"])) == (True, False, 1)


async def test_what_was_deleted_with_a_backup_is_seen_as_a_placeholder_and_comes_back() -> None:
    async with standin_and_sdk(backup=True) as (standin, sdk):
        a = standin.account.upload(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1", public_id="a", tags=["t"])
        standin.account.destroy("a")

        for deleted in (
            await sdk(cloudinary.api.resource, "a"),
            await sdk(cloudinary.api.resource_by_asset_id, a["asset_id"]),
            (await sdk(cloudinary.api.resources))["resources"][0],
        ):
            assert (deleted["asset_id"], deleted["placeholder"], deleted["bytes"]) == (a["asset_id"], True, 0)
        assert public_ids(await sdk(cloudinary.api.resources_by_asset_ids, [a["asset_id"]])) == []
        assert public_ids(await sdk(cloudinary.api.resources_by_tag, "t")) == []
        assert public_ids(await sdk(Search().execute)) == []

        restored = await sdk(cloudinary.api.restore, ["a", "none"])
        assert restored["none"] == {"error": "no_backup"}
        assert (restored["a"]["asset_id"], restored["a"]["etag"]) == (a["asset_id"], a["etag"])
        assert "placeholder" not in await sdk(cloudinary.api.resource, "a")

        standin.account.destroy("a")
        new = standin.account.upload(public_id="a")
        assert new["asset_id"] != a["asset_id"]
        assert public_ids(await sdk(cloudinary.api.resources)) == ["a"]
        assert (await sdk(cloudinary.api.restore_by_asset_ids, [a["asset_id"]]))[a["asset_id"]]["error"]


async def test_folders_are_made_moved_and_deleted_only_when_empty(standin: Standin, sdk: Sdk, told: list[dict[str, Any]]) -> None:
    standin.account.upload(public_id="a", asset_folder="shop/new")
    standin.account.upload(public_id="b", asset_folder="shopping")
    told.clear()

    assert (await sdk(cloudinary.api.create_folder, "x/y"))["path"] == "x/y"
    moved = await sdk(cloudinary.api.rename_folder, "shop", "x/shop")
    assert moved == {"from": {"name": "shop", "path": "shop"}, "to": {"name": "shop", "path": "x/shop"}}
    assert [one["asset_folder"] for one in standin.account.resources()] == ["x/shop/new", "shopping"]
    roots = await sdk(cloudinary.api.root_folders)
    assert [folder["path"] for folder in roots["folders"]] == ["shopping", "x"]
    below = await sdk(cloudinary.api.subfolders, "x")
    assert [folder["name"] for folder in below["folders"]] == ["shop", "y"]
    assert [one["path"] for one in (await sdk(SearchFolders().expression("name=y").execute))["folders"]] == ["x/y"]
    with pytest.raises(cloudinary.exceptions.BadRequest, match="not empty"):
        await sdk(cloudinary.api.delete_folder, "x")
    assert await sdk(cloudinary.api.delete_folder, "x/y") == {"deleted": ["x/y"]}
    with pytest.raises(cloudinary.exceptions.NotFound, match="Can't find folder"):
        await sdk(cloudinary.api.subfolders, "x/y")
    with pytest.raises(cloudinary.exceptions.AlreadyExists):
        await sdk(cloudinary.api.rename_folder, "x/shop", "shopping")
    kinds = [notification["notification_type"] for notification in told]
    assert kinds == ["create_folder", "move_or_rename_asset_folder", "delete_folder"]


async def test_an_account_tells_of_itself(standin: Standin, sdk: Sdk) -> None:
    standin.account.seed(3)

    assert await sdk(cloudinary.api.ping) == {"status": "ok"}
    assert (await sdk(cloudinary.api.usage))["resources"] == 3
    assert "settings" not in await sdk(cloudinary.api.config)
    assert (await sdk(cloudinary.api.config, settings=True))["settings"]["folder_mode"] == "dynamic"
    assert (await sdk(cloudinary.api.tags))["tags"] == []
