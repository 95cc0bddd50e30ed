import asyncio
from pathlib import Path

import pytest

import service.database
from schemas.asset import Asset
from service.database import (
    DatabaseUnreachableError,
    MigrationChangedError,
    NoDatabaseError,
    SchemaAheadError,
    SchemaBehindError,
    connect,
    migrate,
    require_schema,
)
from service.settings import Settings, load_settings
from service.sql import FOLDER, query


async def test_migrations_are_applied_once_whoever_comes_first(settings: Settings) -> None:
    async with connect(settings) as pool:
        with pytest.raises(SchemaBehindError, match="0001_mirror"):
            await require_schema(pool)
        applied = await asyncio.gather(migrate(pool), migrate(pool), migrate(pool))
        assert sorted(applied) == [[], [], sorted(file.stem for file in (FOLDER / "migrations").glob("*.sql"))]
        await require_schema(pool)


@pytest.mark.parametrize(("file", "name"), [("mirror", "lock_assets"), ("scratch", "some_rows"), ("reconciliation", "rows")])
async def test_rows_become_assets_and_assets_rows_by_the_order_of_their_columns(settings: Settings, file: str, name: str) -> None:
    async with connect(settings) as pool, pool.acquire() as connection:
        await migrate(pool)
        read = await connection.prepare(query(file, name))
        assert tuple(column.name for column in read.get_attributes()) == Asset._fields
        written = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'media_asset_row'::regclass ORDER BY attnum"
        )
        assert tuple(row["attname"] for row in written) == Asset._fields


async def test_a_migration_changed_after_it_was_applied_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "views.sql").write_text("SELECT 1")
    monkeypatch.setattr(service.database, "FOLDER", tmp_path)
    migration = tmp_path / "migrations" / "0001_one.sql"
    migration.write_text("CREATE TABLE one (id int)")
    async with connect(settings) as pool:
        assert await migrate(pool) == ["0001_one"]
        migration.write_text("CREATE TABLE one (id bigint)")
        with pytest.raises(MigrationChangedError, match="0001_one"):
            await migrate(pool)
        migration.unlink()
        with pytest.raises(SchemaAheadError, match="0001_one"):
            await require_schema(pool)


async def test_a_migration_that_fails_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "views.sql").write_text("SELECT 1")
    monkeypatch.setattr(service.database, "FOLDER", tmp_path)
    (tmp_path / "migrations" / "0001_one.sql").write_text("CREATE TABLE one (id int); SELECT 1 / 0")
    async with connect(settings) as pool:
        with pytest.raises(Exception, match="division by zero"):
            await migrate(pool)
        assert await pool.fetchval("SELECT to_regclass('one')") is None


async def test_no_database_and_one_that_is_away_are_clear_errors() -> None:
    with pytest.raises(NoDatabaseError):
        async with connect(load_settings()):
            pass
    with pytest.raises(DatabaseUnreachableError):
        async with connect(load_settings(database_url="postgresql://127.0.0.1:1/x")):
            pass
    with pytest.raises(DatabaseUnreachableError, match="MEDIAMIRROR_DATABASE_URL can't be used") as error:
        async with connect(load_settings(database_url="postgresql://u:p@127.0.0.1:1/x?sslmode=hunter2")):
            pass
    assert "hunter2" not in str(error.value)
