"""One reconciler serves several clouds, and what goes wrong with one of them is no matter of the others."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.reconcile.reconciler import Reconciler


@pytest.mark.parametrize("error", [OSError("PostgreSQL is away"), ZeroDivisionError("a bug")])
async def test_what_goes_wrong_with_one_cloud_leaves_the_others_at_work(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    both = asyncio.Event()

    async def lead(_: Reconciler, account: Any) -> None:
        tried.append(account.name)
        if len(set(tried)) > 1:
            both.set()
        if account.name == "broken":
            raise error
        await asyncio.Event().wait()

    monkeypatch.setattr(Reconciler, "_lead", lead)
    clouds = {name: SimpleNamespace(name=name) for name in ("broken", "whole")}
    reconciler = Reconciler(cast("Any", None), cast("Any", None), cast("Any", clouds), cast("Any", None), cast("Any", None))
    running = asyncio.create_task(reconciler.run())
    await asyncio.wait_for(both.wait(), 5)
    await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
