import codecs
import time

import orjson
import pytest

from schemas.asset import AssetName
from schemas.salvage import salvage
from tests.bodies import documented

UPLOAD = documented("01_upload")
ASSET_ID = orjson.loads(UPLOAD)["asset_id"]
FIRST, SECOND = "0" * 31 + "1", "0" * 31 + "2"


@pytest.mark.parametrize(
    "body",
    [
        UPLOAD[:-1],
        UPLOAD[: UPLOAD.index(b'"version"')],
        UPLOAD + b"trailing",
        UPLOAD + UPLOAD,
        codecs.BOM_UTF8 + UPLOAD,
        UPLOAD.decode().encode("utf-16"),
        UPLOAD.decode().encode("utf-16-be"),
        UPLOAD.decode().encode("utf-32"),
        UPLOAD.replace(b'"bytes"', b'"Artist":"Andr\xe9","bytes"'),
        UPLOAD.replace(b'"bytes"', b'"Artist":"\xed\xa0\xbd\xed\xb8\x80","bytes"'),
        UPLOAD.replace(b'"bytes"', b'"duration":NaN,"bytes"'),
        UPLOAD.replace(b'"bytes"', b'"duration":-Infinity,"bytes"'),
        b"[" + UPLOAD + b"]",
    ],
)
def test_the_asset_is_read_off_bytes_that_are_no_json_object(body: bytes) -> None:
    found = salvage(body)
    assert (found.notification_type, found.asset_ids) == ("upload", (ASSET_ID,))


def test_several_assets_are_found_each_once_in_their_order() -> None:
    body = b'{"resources":[{"asset_id":"%s"},{"asset_id" : "%s"},{"asset_id":"%s"},{"ass' % (
        SECOND.encode(),
        FIRST.encode(),
        SECOND.encode(),
    )
    assert salvage(body).asset_ids == (SECOND, FIRST)


def test_no_more_assets_are_asked_about_than_a_thousand() -> None:
    body = b"".join(b'{"asset_id":"%032x"}' % number for number in range(5000))
    assert len(salvage(body).asset_ids) == 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"\0",
        b'{"asset_id":"not an id","public_id":',
        rb'{"context":{"note":"{\"asset_id\":\"00000000000000000000000000000001\"}"',  # said within a text
        b'{"asset_id":"%s' % FIRST.encode(),
    ],
)
def test_nothing_is_made_up(body: bytes) -> None:
    found = salvage(body)
    assert (found.asset_ids, found.name) == ((), None)


def test_an_asset_without_an_id_is_read_by_its_only_name() -> None:
    body = rb'{"public_id":"a \"b\" \u00e9","resource_type":"image","type":"upload","version":1,'
    assert salvage(body).name == AssetName("image", "upload", 'a "b" \u00e9')


@pytest.mark.parametrize(
    "body",
    [
        b'{"public_id":"a","resource_type":"image"',
        b'{"public_id":"a","public_id":"b","resource_type":"image","type":"upload"',
        b'{"public_id":"a","resource_type":"image","type":"upload"}{"type":"private"}',
        b'{"public_id":"Andr\xe9","resource_type":"image","type":"upload"}',
        b'{"public_id":7,"resource_type":"image","type":"upload"',
    ],
)
def test_a_name_that_is_not_clear_is_none(body: bytes) -> None:
    assert salvage(body).name is None


@pytest.mark.parametrize(
    "body",
    [
        b'"asset_id"' + b" " * 10_000_000,
        b'"asset_id":' * 900_000,
        b'"public_id":"' * 800_000,
        b'"public_id":"' + b"\\" * 10_000_000,
        b'"type" :' * 1_200_000 + b'"',
        b"\xfe\xff" + b'\0"' * 5_000_000,
    ],
)
def test_the_work_is_in_proportion_to_the_bytes(body: bytes) -> None:
    began = time.process_time()
    salvage(body)
    assert time.process_time() - began < 5
