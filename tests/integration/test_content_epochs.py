"""Rows of before content could go back are as if they had been folded since."""

from pathlib import Path
from typing import Any

import pytest

import service.database
from schemas.asset import Asset
from service.database import connect, migrate
from service.settings import Settings
from service.sql import FOLDER
from tests.bodies import ASSET, BEGINNING, CLOUD, triggered, upload
from tests.folding import MemoryMirror

_START = int(BEGINNING.timestamp())
_LED = ("content", "placeholder", "details")


def reading(read: float, **fields: Any) -> dict[str, Any]:
    resource = upload(**fields)
    del resource["notification_type"], resource["notification_context"]
    return {"notification_type": "snapshot", "resources": [resource]} | triggered(read)


def folded(*bodies: dict[str, Any]) -> Asset:
    mirror = MemoryMirror()
    mirror.apply(bodies)
    return mirror.asset(ASSET)


def as_it_was(asset: Asset) -> dict[str, str]:
    """The clocks as they were written when the version led alone."""
    return {
        name: f"{min(asset.version or 0, 10**12 - 1):012d}.{clock[22:]}" if name.split(".")[0] in _LED else clock
        for name, clock in asset.clocks.items()
    }


async def migrated(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, before: dict[str, dict[str, Any]]
) -> dict[str, dict[str, str]]:
    """The clocks of rows that were there before the migration; of one that was deleted by SQL, too."""
    (folder / "migrations").mkdir()
    (folder / "views.sql").write_text("SELECT 1")
    files = sorted((FOLDER / "migrations").glob("*.sql"))
    monkeypatch.setattr(service.database, "FOLDER", folder)
    async with connect(settings) as pool:
        for file in files:
            if file.stem.endswith("content_epochs"):
                await migrate(pool)
                rows = [(CLOUD, asset_id, row["version"], row["clocks"]) for asset_id, row in before.items()]
                await pool.executemany(
                    "INSERT INTO media_assets (cloud, asset_id, version, clocks, revision) VALUES ($1, $2, $3, $4, 1)", rows
                )
                # as the trigger does that the schema, once whole, has
                await pool.execute(
                    "WITH deleted AS (DELETE FROM media_assets WHERE asset_id = 'purged' RETURNING *)"
                    " INSERT INTO media_purged (cloud, asset_id, revision, was)"
                    " SELECT cloud, asset_id, revision + 1, to_jsonb(deleted) FROM deleted"
                )
            (folder / "migrations" / file.name).write_bytes(file.read_bytes())
        await migrate(pool)
        found = await pool.fetch("SELECT asset_id, clocks FROM media_assets")
        was = await pool.fetchval("SELECT was FROM media_purged")
    return {row["asset_id"]: row["clocks"] for row in found} | {"purged": was["clocks"]}


async def test_clocks_become_what_they_would_have_been(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verdict = {"notification_type": "moderation", "asset_id": ASSET, "version": _START, "moderation_status": "rejected"}
    versions = [_START - 1000, None, 0, 17, _START * 1000, 2**60]
    now = {
        "uploaded": folded(upload(at=3, tags=["x"])),
        "read since": folded(upload(at=3, pages=2), reading(60, at=3, pages=2)),
        "read only": folded(reading(60, at=3, pages=2)),
        "judged": folded(upload(), verdict | triggered(100)),
        "purged": folded(upload(at=5)),
        "unknown": folded({"notification_type": "publish", "asset_id": ASSET} | triggered(3)),
    } | {f"of {version}": folded(upload(at=1, version=version)) for version in versions}
    before: dict[str, dict[str, Any]] = {
        name: {"version": asset.version, "clocks": as_it_was(asset)} for name, asset in now.items()
    }
    # as if all of lower versions had been told before
    before["read only"]["clocks"] |= {"content": f"{_START + 3:012d}", "details": f"{_START + 3:012d}"}
    assert await migrated(settings, monkeypatch, tmp_path, before) == {name: dict(asset.clocks) for name, asset in now.items()}
