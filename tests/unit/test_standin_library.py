import struct
import zlib
from collections import Counter
from pathlib import Path

import pytest

from standin.files import kind_of
from standin.library import Library
from standin.picture import Landscape
from standin.server import Options, run_standin
from tests.receiving import eventually


def pixels(png: bytes) -> list[bytes]:
    """Rows of palette indexes; checks the file's structure on the way."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(name + data),)
        chunks[name] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    raw = zlib.decompress(chunks[b"IDAT"])
    rows = [raw[start + 1 : start + 1 + width] for start in range(0, len(raw), width + 1)]
    assert [len(row) for row in rows] == [width] * height
    assert max(map(max, rows)) < len(chunks[b"PLTE"]) // 3
    return rows


@pytest.mark.parametrize("hour", [0, 4, 6, 12, 18.5, 22, 24])
def test_a_picture_is_a_png_of_its_size_at_every_hour(hour: float) -> None:
    png = Landscape(3, hour).png()
    assert kind_of(png)[:4] == ("image", "png", 320, 200)
    assert len(set(pixels(png))) > 100


def test_pictures_differ_by_place_and_hour_and_are_the_same_again() -> None:
    pictures = [Landscape(place, hour).png() for place in (1, 2) for hour in (8, 17)]
    assert len(set(pictures)) == 4
    assert pictures == [Landscape(place, hour).png() for place in (1, 2) for hour in (8, 17)]


async def test_a_library_grows_to_its_size_and_then_keeps_changing_in_every_way() -> None:
    async with run_standin() as standin:
        standin.notifier.triggers.create("poll://told", "all", uri_type="poll")
        library = Library(standin.account, size=30, seed=7)
        for _ in range(100):
            library.act()
        assert len(standin.account.resources()) >= 25
        for _ in range(500):
            library.act()
        images = standin.account.resources()
        assert 25 <= len(images) <= 35
        told: Counter[str] = Counter()
        while received := await standin.notifier.channel.receive(channel="told", max_messages=100, wait_seconds=0):
            told.update(message["payload"]["notification_type"] for message in received["messages"])
    assert told.keys() >= {
        "upload",
        "delete",
        "rename",
        "move",
        "restore_asset_version",
        "resource_tags_changed",
        "resource_context_changed",
        "resource_display_name_changed",
        "move_or_rename_asset_folder",
        "create_folder",
    }
    assert all(image["public_id"].startswith("demo/") and image["asset_folder"].startswith("demo/") for image in images)


async def test_a_library_lives_by_itself_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def grown_to(count: int) -> int:
        async with run_standin(Options(data_dir=tmp_path)) as standin:
            before = len(standin.account.resources())
            async with Library(standin.account, rate=1000, seed=7):
                await eventually(lambda: len(standin.account.resources()) >= count)
            return before

    assert await grown_to(5) == 0
    assert await grown_to(10) >= 5


async def test_a_library_leaves_the_assets_of_others_alone() -> None:
    async with run_standin() as standin:
        standin.account.upload(public_id="mine", tags=["a"])
        before = standin.account.resources()
        library = Library(standin.account, size=5, seed=7)
        for _ in range(200):
            library.act()
        after = [one for one in standin.account.resources() if one["public_id"] == "mine"]
    assert after == before


async def test_what_can_be_restored_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standin.library._MOST_DELETED", 3)
    async with run_standin(Options(backup=True)) as standin:
        library = Library(standin.account, size=20, seed=7)
        for _ in range(1000):
            library.act()
        assert len(library._images(alive=False)) < 20
