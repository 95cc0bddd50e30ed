"""Where the sources disagree, the stand-in speaks as the documentation does, and otherwise by a switch."""

from dataclasses import fields, replace
from typing import Any

import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import pytest
from cloudinary.search import Search

from standin.dialect import ENUMERATED, OTHER, Dialect, dialect_of
from tests.sdk import Sdk, standin_and_sdk

BOTH = (Dialect(), OTHER)


@pytest.mark.parametrize(("dialect", "most"), list(zip(BOTH, (10, 100), strict=True)))
async def test_so_many_asset_ids_are_taken_at_once(dialect: Dialect, most: int) -> None:
    async with standin_and_sdk(dialect=dialect) as (_, sdk):
        await sdk(cloudinary.api.resources_by_asset_ids, ["0" * 32] * most)
        with pytest.raises(cloudinary.exceptions.BadRequest, match=f"maximum is {most}"):
            await sdk(cloudinary.api.resources_by_asset_ids, ["0" * 32] * (most + 1))


async def test_fields_that_are_not_enumerated_do_not_come() -> None:
    wanted = ["type", "display_name", "etag", "tags", "version_id", "access_control"]
    shown = []
    for dialect in BOTH:
        async with standin_and_sdk(dialect=dialect) as (standin, sdk):
            standin.account.upload(public_id="a", access_control=[])
            (asset,) = (await sdk(cloudinary.api.resources, fields=wanted))["resources"]
            shown.append(set(asset))
    assert shown[0] == {"asset_id", "public_id", "etag", "tags", "version_id", "access_control"}
    assert shown[1] == {"asset_id", "public_id", "resource_type", *wanted}
    assert len(ENUMERATED) == 26


async def test_what_readings_show_of_an_asset() -> None:
    seen: list[dict[str, dict[str, Any]]] = []
    for dialect in BOTH:
        async with standin_and_sdk(dialect=dialect) as (standin, sdk):
            asset_id = standin.account.upload(public_id="film", resource_type="video")["asset_id"]
            standin.account.upload(public_id="friend", type="facebook")
            seen.append(
                {
                    "video": (await sdk(cloudinary.api.resources, resource_type="video"))["resources"][0],
                    "details": await sdk(cloudinary.api.resource_by_asset_id, asset_id),
                    "asked": await sdk(cloudinary.api.resource_by_asset_id, asset_id, media_metadata=True),
                    "found": (await sdk(Search().expression("public_id:film").execute))["resources"][0],
                    "social": (await sdk(cloudinary.api.resources, type="facebook"))["resources"][0],
                }
            )
    documented, other = seen
    assert not {"duration", "access_control"} & documented["video"].keys()
    assert other["video"]["duration"] == 1.5
    assert [documented[one]["access_control"] for one in ("details", "found")] == [None, None]
    assert not any("access_control" in one for one in other.values())
    assert ["etag" in seen[at]["details"] for at in (0, 1)] == [False, True]
    assert all("etag" in one["asked"] for one in seen)
    assert ["version" in one["social"] for one in seen] == [False, True]


async def test_listings_go_by_creation_or_by_name_and_their_cursors_expire() -> None:
    now = [1_000_000_000.0]
    for dialect, order in zip(BOTH, (["a", "c", "b"], ["a", "b", "c"]), strict=True):
        async with standin_and_sdk(dialect=dialect, clock=lambda: now[0]) as (standin, sdk):
            for public_id in ("b", "c", "a"):
                standin.account.upload(public_id=public_id)
            pages = [await sdk(cloudinary.api.resources, max_results=2)]
            now[0] += 3590
            pages.append(await sdk(cloudinary.api.resources, max_results=2, next_cursor=pages[0]["next_cursor"]))
            assert [one["public_id"] for page in pages for one in page["resources"]] == order
            by_prefix = await sdk(cloudinary.api.resources, type="upload", prefix="")
            assert len(by_prefix["resources"]) == 3
            now[0] += 3600
            again = sdk(cloudinary.api.resources, max_results=2, next_cursor=pages[0]["next_cursor"])
            if dialect.cursor_seconds:
                with pytest.raises(cloudinary.exceptions.BadRequest, match="next_cursor"):
                    await again
            else:
                assert (await again)["resources"]


async def test_a_listing_without_a_delivery_type_is_of_all_or_of_uploads() -> None:
    for dialect, names in zip(BOTH, ({"open", "kept"}, {"open"}), strict=True):
        async with standin_and_sdk(dialect=dialect) as (standin, sdk):
            standin.account.upload(public_id="open")
            standin.account.upload(public_id="kept", type="private")
            assert {one["public_id"] for one in (await sdk(cloudinary.api.resources))["resources"]} == names


async def test_refused_credentials_are_told_in_html_or_json() -> None:
    for dialect, kind in zip(
        BOTH, (cloudinary.exceptions.GeneralError, cloudinary.exceptions.AuthorizationRequired), strict=True
    ):
        async with standin_and_sdk(dialect=dialect) as (standin, _):
            with pytest.raises(kind, match=r"401|mismatch"):
                await Sdk(standin, api_secret="wrong")(cloudinary.api.ping)


async def test_what_an_overwrite_keeps_and_which_version_it_has() -> None:
    for dialect in BOTH:
        async with standin_and_sdk(dialect=dialect, clock=lambda: 1_000_000_000.0) as (standin, _):
            first = standin.account.upload(public_id="a", tags=["t"])
            second = standin.account.upload(public_id="a")
            assert second["version"] - first["version"] == (0 if dialect.shared_versions else 1)
            assert second["tags"] == (["t"] if dialect.overwriting_keeps_labels else [])


async def test_how_deletions_by_id_are_answered_and_whether_a_rename_tells_of_its_victim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for dialect in BOTH:
        async with standin_and_sdk(dialect=dialect) as (standin, sdk):
            told: list[str] = []
            with monkeypatch.context() as patched:
                patched.setattr(standin.notifier, "send", lambda said, told=told, **_: told.append(said["notification_type"]))
                one, _, _ = (standin.account.upload(public_id=name) for name in ("a", "b", "c"))
                standin.account.rename("b", "c", overwrite=True)
                answer = await sdk(cloudinary.api.delete_resources_by_asset_ids, [one["asset_id"]])
            assert answer["deleted"] == {"a" if dialect.deletes_by_name else one["asset_id"]: "deleted"}
            assert told.count("delete") == (2 if dialect.tells_of_victims else 1)
            assert {asset["public_id"] for asset in standin.account.resources()} == {"c"}


async def test_metadata_fields_are_defined_with_a_type_or_taken_as_they_come() -> None:
    async with standin_and_sdk() as (standin, sdk):
        standin.account.upload(public_id="a")
        await sdk(cloudinary.api.add_metadata_field, {"external_id": "size", "type": "integer"})
        await sdk(cloudinary.uploader.update_metadata, {"size": "7"}, ["a"])
        assert standin.account.resources()[0]["metadata"] == {"size": 7}
        for wrong in ({"size": "large"}, {"colour": "red"}):
            with pytest.raises(cloudinary.exceptions.BadRequest):
                await sdk(cloudinary.uploader.update_metadata, wrong, ["a"])
    async with standin_and_sdk(dialect=OTHER) as (standin, sdk):
        standin.account.upload(public_id="a")
        await sdk(cloudinary.uploader.update_metadata, {"colour": "red"}, ["a"])
        assert standin.account.resources()[0]["metadata"] == {"colour": "red"}


async def test_an_upload_over_a_placeholder_makes_another_asset_or_revives_it() -> None:
    for dialect in BOTH:
        async with standin_and_sdk(dialect=dialect, backup=True) as (standin, _):
            first = standin.account.upload(public_id="a")
            standin.account.destroy("a")
            second = standin.account.upload(public_id="a")
            assert (second["asset_id"] == first["asset_id"]) is dialect.revives_placeholders
            (asset,) = standin.account.resources()
            assert (asset["asset_id"], "placeholder" in asset) == (second["asset_id"], False)


def test_each_switch_has_another_reading_and_can_be_set_by_a_command() -> None:
    for one in fields(Dialect):
        assert getattr(OTHER, one.name) != getattr(Dialect(), one.name), one.name
    assert dialect_of(["most_ids=100", "null_access=no"]) == replace(Dialect(), most_ids=100, null_access=False)
    for wrong in ("nonsense=yes", "null_access=1", "most_ids=many"):
        with pytest.raises(ValueError, match=r"."):
            dialect_of([wrong])
