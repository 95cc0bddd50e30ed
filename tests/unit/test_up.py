"""`up` notices when a role ends by itself."""

import asyncio

import pytest

from service.up import RoleEndedError, _for_good


async def cancels_itself() -> None:
    fetch = asyncio.ensure_future(asyncio.Event().wait())
    fetch.cancel()
    await fetch


async def returns() -> None:
    pass


async def test_a_role_that_cancels_itself_or_returns_is_an_error() -> None:
    for role in (cancels_itself, returns):
        with pytest.raises(RoleEndedError, match="The mirror has ended"):
            await _for_good("mirror", role())


async def test_a_role_that_is_told_to_end_ends_quietly() -> None:
    async with asyncio.TaskGroup() as roles:
        task = roles.create_task(_for_good("relay", asyncio.sleep(3600)))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
