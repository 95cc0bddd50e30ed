import base64
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from standin.server import Standin
from tests.sdk import Sdk, standin_and_sdk


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + b"\x7f" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PNG = png(7, 5)


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """What the account said, without what the SDK adds."""
    return {name: value for name, value in answer.items() if name != "request_id"}


@pytest.fixture
async def running() -> AsyncIterator[tuple[Standin, Sdk]]:
    async with standin_and_sdk(hourly_limit=10_000, metadata_fields={"f": "set", "g": "string"}) as running:
        yield running


@pytest.fixture
def standin(running: tuple[Standin, Sdk], told: list[dict[str, Any]]) -> Standin:
    del told
    return running[0]


@pytest.fixture
def sdk(running: tuple[Standin, Sdk]) -> Sdk:
    return running[1]


@pytest.fixture
def told(running: tuple[Standin, Sdk], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The notifications that the account sends."""
    notifications: list[dict[str, Any]] = []
    monkeypatch.setattr(running[0].notifier, "send", lambda notification, **_: notifications.append(notification))
    return notifications


async def test_an_uploaded_file_is_described_delivered_and_told(standin: Standin, sdk: Sdk, told: list[dict[str, Any]]) -> None:
    answer = await sdk(
        cloudinary.uploader.upload,
        io.BytesIO(PNG),
        filename="dot.png",
        public_id="a/é & b",
        tags=["t1", "t2"],
        context={"alt": "q|x=y"},
        metadata={"g": "v"},
        asset_folder="shop/new",
        display_name="Dot & Co",
    )

    assert (answer["public_id"], answer["format"], answer["width"], answer["height"]) == ("a/é & b", "png", 7, 5)
    assert (answer["bytes"], answer["tags"], answer["original_filename"]) == (len(PNG), ["t1", "t2"], "dot")
    assert answer["context"] == {"custom": {"alt": "q|x=y"}}
    assert (answer["metadata"], answer["asset_folder"], answer["display_name"]) == ({"g": "v"}, "shop/new", "Dot & Co")
    (upload,) = told
    assert said(answer) == {name: upload[name] for name in said(answer)}
    assert upload["notification_type"] == "upload"
    assert upload["notification_context"]["triggered_by"] == {"source": "api", "id": standin.key}
    async with aiohttp.ClientSession() as session:
        url = answer["url"].replace("http://res.cloudinary.com", standin.url)
        for address in (url, url.replace("/upload/", "/upload/c_fill,w_100/")):
            async with session.get(address) as response:
                assert (response.status, response.content_type, await response.read()) == (200, "image/png", PNG)


async def test_a_file_comes_as_a_data_uri_or_from_a_url_or_from_the_account_itself(sdk: Sdk) -> None:
    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=PNG)

    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    first = await sdk(cloudinary.uploader.upload, uri, resource_type="auto")
    app = web.Application()
    app.router.add_get("/x.png", serve)
    async with TestServer(app) as server:
        second = await sdk(cloudinary.uploader.upload, str(server.make_url("/x.png")), public_id="second")
        with pytest.raises(cloudinary.exceptions.BadRequest, match="404"):
            await sdk(cloudinary.uploader.upload, str(server.make_url("/y.png")))
    third = await sdk(cloudinary.uploader.upload, second["secure_url"])

    assert first["etag"] == second["etag"] == third["etag"]
    assert (second["original_filename"], len(first["public_id"])) == ("x", 20)


async def test_auto_tells_files_apart_and_an_image_must_be_one(sdk: Sdk) -> None:
    raw = await sdk(cloudinary.uploader.upload, io.BytesIO(b"hello"), filename="a.txt", resource_type="auto")
    video = await sdk(cloudinary.uploader.upload, io.BytesIO(b"\0\0\0\x18ftypmp42"), resource_type="auto")

    assert (raw["resource_type"], raw["public_id"].endswith(".txt"), "format" in raw) == ("raw", True, False)
    assert (video["resource_type"], video["format"], video["duration"]) == ("video", "mp4", 1.5)
    with pytest.raises(cloudinary.exceptions.BadRequest, match="Invalid image file"):
        await sdk(cloudinary.uploader.upload, io.BytesIO(b"hello"))


async def test_an_overwrite_has_a_version_no_lower_and_keeps_its_labels(sdk: Sdk, told: list[dict[str, Any]]) -> None:
    first = await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="a", tags=["t"])
    second = await sdk(cloudinary.uploader.upload, io.BytesIO(png(9, 9)), public_id="a")
    existing = await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="a", overwrite=False)

    assert second["version"] >= first["version"]
    assert second["version_id"] != first["version_id"]
    assert (second["asset_id"], second["overwritten"], second["tags"]) == (first["asset_id"], True, ["t"])
    assert (existing["existing"], existing["version"], existing["width"]) == (True, second["version"], 9)
    moments = [one["notification_context"]["triggered_at"] for one in told]
    assert moments == sorted(set(moments))


async def test_unsigned_uploads_need_a_preset_and_never_overwrite(sdk: Sdk) -> None:
    await sdk(cloudinary.uploader.unsigned_upload, io.BytesIO(PNG), "unsigned", public_id="a")
    again = await sdk(cloudinary.uploader.unsigned_upload, io.BytesIO(png(9, 9)), "unsigned", public_id="a")

    assert (again["existing"], again["width"]) == (True, 7)
    with pytest.raises(cloudinary.exceptions.BadRequest, match="preset not found"):
        await sdk(cloudinary.uploader.unsigned_upload, io.BytesIO(PNG), "nobody's")


async def test_a_rename_moves_the_name_and_replaces_only_if_told_to(sdk: Sdk, told: list[dict[str, Any]]) -> None:
    one = await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="one")
    await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="other")

    with pytest.raises(cloudinary.exceptions.BadRequest, match="already exists"):
        await sdk(cloudinary.uploader.rename, "one", "other")
    with pytest.raises(cloudinary.exceptions.NotFound, match="Resource not found - none"):
        await sdk(cloudinary.uploader.rename, "none", "new")
    renamed = await sdk(cloudinary.uploader.rename, "one", "other", overwrite=True, invalidate=True, to_type="upload")

    assert (renamed["asset_id"], renamed["public_id"], renamed["display_name"]) == (one["asset_id"], "other", "one")
    assert [notification["notification_type"] for notification in told[2:]] == ["delete", "rename"]
    assert (told[-1]["from_public_id"], told[-1]["to_public_id"]) == ("one", "other")


async def test_destroying_what_is_not_there_is_no_error(sdk: Sdk, told: list[dict[str, Any]]) -> None:
    asset = await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="a", type="private")

    assert said(await sdk(cloudinary.uploader.destroy, "a")) == {"result": "not found"}
    assert said(await sdk(cloudinary.uploader.destroy, "a", type="private", invalidate=True)) == {"result": "ok"}
    assert said(await sdk(cloudinary.uploader.destroy, "a", type="private")) == {"result": "not found"}
    assert [notification["notification_type"] for notification in told] == ["upload", "delete"]
    assert told[1]["resources"][0]["asset_id"] == asset["asset_id"]


async def test_labels_of_many_assets_change_in_one_call_and_one_notification(sdk: Sdk, told: list[dict[str, Any]]) -> None:
    for public_id in ("a", "b"):
        await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id=public_id, tags=["t1"])
    told.clear()

    both = {"public_ids": ["a", "b"]}
    # the SDK leaves notification_url out of the signature of these calls
    assert said(await sdk(cloudinary.uploader.add_tag, "t2,t3", ["a", "b", "none"], notification_url="http://h/x")) == both
    assert said(await sdk(cloudinary.uploader.remove_tag, "t1", ["a"])) == {"public_ids": ["a"]}
    assert said(await sdk(cloudinary.uploader.replace_tag, "t4", ["b"])) == {"public_ids": ["b"]}
    assert said(await sdk(cloudinary.uploader.add_context, {"k": "v&w"}, ["a", "b"])) == both
    assert said(await sdk(cloudinary.uploader.remove_all_context, ["b"])) == {"public_ids": ["b"]}
    assert said(await sdk(cloudinary.uploader.update_metadata, {"f": ["x", "y"], "g": "1"}, ["a"])) == {"public_ids": ["a"]}
    await sdk(cloudinary.uploader.add_tag, "t4", ["b"])

    with pytest.raises(cloudinary.exceptions.BadRequest, match="does not exist"):
        await sdk(cloudinary.uploader.update_metadata, {"undefined": "1"}, ["a"])
    a = await sdk(cloudinary.api.resource, "a")
    b = await sdk(cloudinary.api.resource, "b")
    assert (a["tags"], a["context"], a["metadata"]) == (["t2", "t3"], {"custom": {"k": "v&w"}}, {"f": ["x", "y"], "g": "1"})
    assert (b["tags"], "context" in b) == (["t4"], False)
    kinds = [notification["notification_type"] for notification in told]
    assert kinds == [*["resource_tags_changed"] * 3, *["resource_context_changed"] * 2, "resource_metadata_changed"]
    assert [one["added"] for one in told[0]["resources"]] == [["t2", "t3"]] * 2
    assert told[4]["resources"]["b"]["removed"] == [{"name": "k", "value": "v&w"}]
    assert told[5]["resources"]["a"]["new_metadata"] == {"f": ["x", "y"], "g": "1"}

    await sdk(cloudinary.uploader.remove_all_tags, ["a"])
    assert (await sdk(cloudinary.api.resource, "a"))["tags"] == []


async def test_explicit_describes_and_changes_only_what_it_is_given(sdk: Sdk, told: list[dict[str, Any]]) -> None:
    await sdk(cloudinary.uploader.upload, io.BytesIO(PNG), public_id="a", tags=["t"])
    told.clear()

    described = await sdk(cloudinary.uploader.explicit, "a", type="upload")
    assert (described["tags"], told) == (["t"], [])
    rules = [{"access_type": "token"}]
    changed = await sdk(
        cloudinary.uploader.explicit, "a", type="upload", asset_folder="f", display_name="D", access_control=rules
    )
    assert (changed["asset_folder"], changed["display_name"], changed["access_control"]) == ("f", "D", rules)
    kinds = {notification["notification_type"] for notification in told}
    assert kinds == {"move", "resource_display_name_changed", "access_control_changed"}
    with pytest.raises(cloudinary.exceptions.NotFound, match="Resource not found"):
        await sdk(cloudinary.uploader.explicit, "none", type="upload")


async def test_a_wrong_signature_or_secret_or_cloud_is_refused(standin: Standin) -> None:
    refused = cloudinary.exceptions.AuthorizationRequired
    for credentials in ({"api_secret": "wrong"}, {"api_key": "1"}, {"cloud_name": "other"}):
        stranger = Sdk(standin, **credentials)
        with pytest.raises(refused):
            await stranger(cloudinary.uploader.destroy, "a")
        with pytest.raises(cloudinary.exceptions.GeneralError, match="401 Authorization Required"):
            await stranger(cloudinary.api.ping)
    with pytest.raises(refused, match="String to sign"):
        await Sdk(standin, api_secret="wrong")(cloudinary.uploader.destroy, "a&b")
    assert not standin.calls


async def test_a_signature_does_not_cover_what_was_changed_or_is_old(standin: Standin) -> None:
    signed = cloudinary.utils.sign_request(
        {"public_id": "a", "timestamp": "1", "type": ""}, {"api_key": standin.key, "api_secret": standin.secret}
    )
    async with aiohttp.ClientSession() as session:
        url = f"{standin.url}/v1_1/{standin.cloud}/image/destroy"
        async with session.post(url, data={**signed, "public_id": "b"}) as response:
            assert (response.status, "Invalid Signature" in await response.text()) == (401, True)
        async with session.post(url, data=signed) as response:
            assert (response.status, "Stale request" in await response.text()) == (400, True)
        async with session.get(f"{standin.url}/v1_1/{standin.cloud}/nothing") as response:
            assert (response.status, "error" in json.loads(await response.text())) == (404, True)
