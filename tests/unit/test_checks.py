"""What the write-back does, and what it refuses, whoever has queued it."""

from typing import Any

import pytest
from cloudinary import uploader, utils

from schemas.asset import AssetName
from service.writeback.checks import fault_of, fault_of_upload, url_fault
from service.writeback.effects import calls
from service.writeback.operations import Kind, Operation

NAME = AssetName("image", "upload", "a")
THERE: dict[str, Any] = {
    "asset_id": "1" * 32, "public_id": "a", "resource_type": "image", "type": "upload", "version": 1, "tags": ["old"],
    "context": {"custom": {"k": "v"}}, "metadata": {}, "display_name": "A", "asset_folder": "f",
}  # fmt: skip


def operation(kind: Kind, arguments: Any, asset_id: str | None = "1" * 32, name: AssetName | None = NAME) -> Operation:
    return Operation(1, "acme", asset_id, kind, arguments, name, None, 1, 1, {}, None)


def upload(url: object = "https://example.com/x.png", name: AssetName | None = NAME, **more: Any) -> Operation:
    return operation(Kind.UPLOAD, {"url": url, "token": "t", **more}, None, name)


GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x.png", "https://example.com:8443/a/b?c=d#e", "https://user:word@example.com/x", "s3://bucket/key",
        "gs://bucket/a b".replace(" ", "%20"), "https://example.com/é/日本.png", GIF,
    ],
)  # fmt: skip
def test_files_come_from_where_cloudinary_can_get_them(url: str) -> None:
    assert url_fault(url) is None
    assert fault_of(upload(url)) is None
    assert utils.is_remote_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd", "etc/passwd", "./x", "../x", "~/x", "x.png", "C:\\x", "\\\\host\\share", "", " ", "-",
        "/proc/self/environ", "file:///etc/passwd", "FILE:///etc/passwd", "File:/etc/passwd", "ftp://example.com/x", "fd:0",
        " https://example.com/x", "\thttps://example.com/x", "\n/etc/passwd", "https://example.com/x\n", "https://e.com/a b",
        "https://example.com/\0/etc/passwd", "HTTPS://example.com/x", "Http://example.com/x", "\uff48ttps://example.com/x",
        "https:/etc/passwd", "https:etc/passwd", "http:", "https://", "https:///etc/passwd", "https://\\etc", "s3:/etc/passwd",
        "gs:x", "s3:", "https\uff1a//example.com/x", "https\u2236//example.com/x", "\u202ehttps://example.com/x", "https://\u200b/x\u202e",
        "data:/etc/passwd", "data:../../etc/passwd", "data:image/png,abc", "data:image/png;base64,", "data:image/png;base64,../x",
        "data:image/png;base64,AAAA\n", "data:image/png;base64,AA==/../etc", "data:é/png;base64,AAAA",
        "data:image/png;base64,AAAA,",
        f"data:image/png;base64,{'A' * 1024 * 1024}", "https://example.com/" + "a" * 9000,
        None, True, 7, 1.5, ["https://example.com/x"], {"read": "https://example.com/x"}, ["name", "/etc/passwd"], b"https://e.com/x",
    ],
)  # fmt: skip
def test_nothing_else_is_uploaded_and_never_a_file_of_this_machine(url: object) -> None:
    assert url_fault(url) is not None
    assert "never from this machine" in str(fault_of(upload(url))) or "no text" in str(fault_of(upload(url)))


@pytest.mark.parametrize(
    "options",
    [
        None, {}, {"tags": ["a", "b"]}, {"context": {"alt": "x|y=z", "n": ""}}, {"asset_folder": "a/b", "display_name": "A & B"},
    ],
)  # fmt: skip
def test_options_that_are_passed_on(options: Any) -> None:
    assert fault_of(upload(options=options)) is None


@pytest.mark.parametrize(
    "options",
    [
        {name: "x"}
        for name in (
            "notification_url", "eager", "eager_notification_url", "eager_async", "type", "resource_type", "public_id",
            "overwrite",
            "upload_preset", "upload_prefix", "api_key", "api_secret", "cloud_name", "oauth_token", "timeout", "file", "filename",
            "invalidate", "callback", "async", "proxy", "headers", "extra_headers", "http_headers", "return_error", "unsigned",
            "chunk_size", "access_control", "moderation", "raw_convert", "transformation", "unique_filename", "purpose",
            "function",
            "Tags", "tags ", "", "__class__",
        )
    ]
    + [
        [], ["a"], "tags", 7, True, {"tags": "a"}, {"tags": [1]}, {"tags": ["a,b"]}, {"tags": [""]}, {"tags": {"a": 1}},
        {"context": "a"}, {"context": ["a"]}, {"context": {"a": 1}}, {"context": {"a=b": "c"}}, {"context": {"a|b": "c"}},
        {"context": {"": "c"}}, {"context": {"a": "b\\"}}, {"context": None}, {"asset_folder": ""}, {"asset_folder": 1},
        {"display_name": None}, {"display_name": ["a"]},
    ],
)  # fmt: skip
def test_options_that_are_not(options: Any) -> None:
    assert fault_of(upload(options=options)) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        upload(token=None), upload(token=""), upload(token=7), upload(token=["t"]), upload(name=None),
        upload(name=AssetName("../image", "upload", "a")), upload(name=AssetName("image", "up/load", "a")),
        upload(name=AssetName("auto", "upload", "a")), upload(name=AssetName("image", "upload", " ")),
        upload(notification_url="https://example.com"), upload(async_=True), operation(Kind.UPLOAD, {"token": "t"}, None),
        operation(Kind.UPLOAD, {"url": "https://example.com/x"}, None), operation(Kind.UPLOAD, ["url"], None),
        operation(Kind.UPLOAD, "url", None), operation(Kind.UPLOAD, None, None), operation(Kind.UPLOAD, {}, None),
    ],
)  # fmt: skip
def test_an_upload_that_nobody_could_recognise_or_that_asks_for_more(wrong: Operation) -> None:
    assert fault_of(wrong) is not None
    if "token" not in (wrong.arguments or {}) or not isinstance(wrong.arguments["token"], str):
        assert fault_of_upload(wrong) is not None


GOOD: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.DESTROY, {}),
    (Kind.RENAME, {"to": "b"}),
    (Kind.RENAME, {"to": "b/c é", "to_type": "private"}),
    (Kind.TAGS, {"set": []}),
    (Kind.TAGS, {"set": ["a b"]}),
    (Kind.TAGS, {"add": ["a"], "remove": []}),
    (Kind.CONTEXT, {"set": {"k": "x = |y|"}, "remove": []}),
    (Kind.CONTEXT, {"set": {}, "remove": ["k"]}),
    (Kind.METADATA, {"set": {"a": "b", "n": 7, "f": 1.5, "s": ["x", "y"]}}),
    (Kind.DISPLAY_NAME, {"to": "B"}),
    (Kind.FOLDER, {"to": "a/b"}),
    (Kind.ACCESS, {"to": []}),
    (Kind.ACCESS, {"to": [{"access_type": "anonymous", "start": "2026-01-01T00:00:00Z"}]}),
]


@pytest.mark.parametrize(("kind", "arguments"), GOOD)
def test_what_passes_becomes_calls(kind: Kind, arguments: dict[str, Any]) -> None:
    asked = operation(kind, arguments)
    assert fault_of(asked) is None
    for call in calls(asked, THERE):
        assert call.function is getattr(uploader, call.function.__name__)


NO_TEXTS: list[Any] = [None, "", " ", 7, ["a"], {}]
NO_VALUES: list[Any] = [None, [], "a", {"a": None}, {"a": True}, {"a": {}}, {"a": [[]]}]
NO_RULES: list[Any] = [None, "token", {}, ["token"], [{}], [{"access_type": 1}], [{"x": "y"}]]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UPLOAD])
@pytest.mark.parametrize("arguments", [None, [], "x", 7, True, {"notification_url": "https://example.com"}, {"to": "b", "x": 1}])
def test_no_operation_takes_what_it_does_not_know(kind: Kind, arguments: Any) -> None:
    assert fault_of(operation(kind, arguments)) is not None


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        *((kind, {"to": to}) for kind in (Kind.RENAME, Kind.DISPLAY_NAME, Kind.FOLDER) for to in NO_TEXTS),
        *((kind, {}) for kind in Kind if kind not in (Kind.DESTROY, Kind.UPLOAD)),
        (Kind.RENAME, {"to": "b", "to_type": "../x"}),
        (Kind.RENAME, {"to": "b", "to_type": ["private"]}),
        (Kind.RENAME, {"to": "b", "overwrite": True}),
        (Kind.TAGS, {"set": ["a"], "add": ["b"]}),
        *((Kind.TAGS, {"add": tags}) for tags in ("a", None, [7], ["a,b"], [None], [["a"]], {"a": True})),
        *((Kind.CONTEXT, {"set": pairs}) for pairs in ("a", None, ["a"], {"a": 1}, {"a": None}, {"a": ["b"]}, {"|": "x"})),
        *((Kind.CONTEXT, {"remove": keys}) for keys in ("a", None, [1], {"a": 1})),
        *((Kind.METADATA, {"set": values}) for values in NO_VALUES),
        *((Kind.ACCESS, {"to": rules}) for rules in NO_RULES),
        (Kind.ACCESS, {"to": [{"access_type": "token", "notification_url": "https://example.com"}]}),
    ],
)  # fmt: skip
def test_what_the_sdk_could_not_take_is_told(kind: Kind, arguments: dict[str, Any]) -> None:
    assert fault_of(operation(kind, arguments)) is not None


@pytest.mark.parametrize("asset_id", [None, "", "../x/upload/a", "image/../a", "weird/upload/a", "image/upload/ "])
def test_an_operation_is_on_an_asset(asset_id: str | None) -> None:
    assert fault_of(operation(Kind.DESTROY, {}, asset_id)) is not None
    assert fault_of(operation(Kind.DESTROY, {}, "image/upload/a/b")) is None
