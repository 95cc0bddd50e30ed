import asyncio
import os

import pytest
from pydantic import SecretStr

from service.database import TransactionPoolerError, connect, migrate, require_schema
from service.doctor.doctor import Doctor
from service.doctor.finding import Level
from service.settings import Settings
from tests.integration.conftest import MEDIAMIRROR
from tests.integration.pooling import pooler


def behind(url: str, settings: Settings) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.fixture
def url(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


async def test_a_pooler_that_lends_sessions_is_as_good_as_none(settings: Settings, url: str) -> None:
    async with pooler(url, by_transaction=False) as pooled, connect(behind(pooled, settings)) as pool:
        await migrate(pool)
        await require_schema(pool)


async def test_a_pooler_that_lends_transactions_is_refused_in_a_sentence(settings: Settings, url: str) -> None:
    async with pooler(url, by_transaction=True) as pooled:
        with pytest.raises(TransactionPoolerError, match="use the pooler's session mode, or a direct address"):
            async with connect(behind(pooled, settings)):
                pass
        found = [one async for one in Doctor(behind(pooled, settings)).findings() if one.check == "postgresql"]
        assert [one.level for one in found] == [Level.FAIL]
        assert "session mode" in found[0].said


@pytest.mark.parametrize("command", ["assets", "mirror", "relay", "migrate"])
async def test_no_command_ends_in_a_traceback_behind_it(environment: dict[str, str], url: str, command: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAMIRROR_", "CLOUDINARY_"))}
    async with pooler(url, by_transaction=True) as pooled:
        process = await asyncio.create_subprocess_exec(
            MEDIAMIRROR,
            command,
            env=kept | environment | {"MEDIAMIRROR_DATABASE_URL": pooled},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.count(b"\n") == 1
    assert err.startswith(b"mediamirror: PostgreSQL is behind a pooler")
