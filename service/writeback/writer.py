"""Operations on assets that are there: one reading for a whole batch, then the calls that are still needed."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog
from cloudinary import api

from service.cloudinary.client import Account, Purpose
from service.cloudinary.errors import (
    AlreadyExistsError,
    BadRequestError,
    CloudinaryError,
    CredentialsError,
    NotFoundError,
    RateLimitedError,
)
from service.cloudinary.reading import Found, Reader
from service.database import DatabaseUnreachableError
from service.mirror.patience import OUTAGES
from service.writeback.attempt import attempted
from service.writeback.checks import fault_of
from service.writeback.effects import Call, Resource, calls, is_done, is_there, objection
from service.writeback.operations import Kind, Operation, Settled
from service.writeback.store import LostClaimError, OperationStore

log = structlog.get_logger(__name__)

LIMIT = 100  # the most assets that can be asked about at once


class Writer:
    """Works off operations of one cloud, but for uploads.

    Every try reads first what is there, and makes only the calls that are still needed. So a try whose effect is not known
    (a time-out, a crash before it was written down) is followed by one that sees it, and the effect is had once.
    """

    def __init__(self, account: Account, store: OperationStore) -> None:
        self._account = account
        self._store = store
        self._reader = Reader(account, Purpose.WRITE)

    async def batch(self, limit: int = LIMIT) -> list[Settled]:
        """Do what is due, up to `limit` operations; gives what became of each.

        Raises `CredentialsError`, with nothing counted as a try, and PostgreSQL's errors.
        """
        operations = await self._store.claim(self._account.name, min(limit, LIMIT), uploads=False)
        if not operations:
            return []
        async with self._store.held(operations):
            batch = _Batch(self._account, self._store, self._reader, operations)
            try:
                return await batch.run()
            except (CredentialsError, DatabaseUnreachableError, *OUTAGES):
                raise
            except Exception as error:
                await batch.let_go(f"the write-back failed: {error!r}")
                raise


class _Batch:
    def __init__(self, account: Account, store: OperationStore, reader: Reader, operations: Sequence[Operation]) -> None:
        self._account = account
        self._store = store
        self._reader = reader
        self._open = {operation.id: operation for operation in operations}
        self._settled: list[Settled] = []
        self._refused: CredentialsError | None = None

    async def run(self) -> list[Settled]:
        todo = await self._look()
        destroys = [self._open[id_] for id_ in todo if self._open[id_].kind is Kind.DESTROY and self._open[id_].known_id]
        names = {operation.id: todo.pop(operation.id)[0].name.public_id for operation in destroys}
        if destroys:
            await self._destroy(destroys, names)
        while todo:
            await self._round({id_: rest[0] for id_, rest in todo.items()})
            for id_ in list(todo):
                if id_ not in self._open:
                    del todo[id_]
                elif len(todo[id_]) > 1:
                    todo[id_] = todo[id_][1:]
                else:
                    del todo[id_]
                    await self._settle(id_, None)
        if self._refused:
            raise self._refused
        return self._settled

    async def let_go(self, error: str) -> None:
        """Have what is unsettled tried again, rather than leave it to its lease."""
        for id_ in list(self._open):
            await self._try_again(id_, error)

    async def _look(self) -> dict[int, Sequence[Call]]:
        """Read what is there, and settle what needs no call, or can't be done; gives the calls of the others."""
        for id_, operation in list(self._open.items()):
            if reason := fault_of(operation):
                await self._settle(id_, reason)
        found = await self._read(list(self._open))
        if read_at := [those.read_at for _, those in found.values() if those.refused is None]:
            ours = await self._store.start(list(self._open.values()), min(read_at))
            self._open = {id_: operation for id_, operation in self._open.items() if id_ in ours}
        todo: dict[int, Sequence[Call]] = {}
        done: list[int] = []
        for id_, operation in list(self._open.items()):
            resource, those = found[operation.asset_id or ""]
            if those.refused is not None:
                await self._all_failed([id_], those.refused)
                continue
            try:
                is_so, reason, wanted = _weighed(operation, resource)
            except Exception as error:  # in what this one is, or is done to; the others have nothing to do with it
                log.exception("operation can't be understood", operation=id_, cloud=operation.cloud, kind=operation.kind)
                await self._settle(id_, f"it can't be done: {error!r}")
                continue
            if is_so:
                done.append(id_)
            elif reason:
                await self._settle(id_, reason)
            elif self._store.is_beyond(operation):
                await self._settle(id_, f"given up: {operation.attempts - 1} workers have crashed over it")
            else:
                todo[id_] = wanted
        await self._complete(done)
        return todo

    async def _read(self, ids: Sequence[int]) -> dict[str, tuple[Mapping[str, Any] | None, Found]]:
        """Read what is there of these operations' assets, by key. What can't be read fails, and no other with it."""
        if not ids:
            return {}
        try:
            looked = await attempted(self._reader.by_keys({self._open[id_].asset_id or "" for id_ in ids}), self._account.name)
        except CloudinaryError as error:
            if len(ids) == 1 or error.passing or isinstance(error, CredentialsError):
                await self._all_failed(ids, error)
                return {}
            half = len(ids) // 2
            return await self._read(ids[:half]) | await self._read(ids[half:])
        found: dict[str, tuple[Mapping[str, Any] | None, Found]] = {}
        for keys, those in looked:
            for key in keys:
                reading = those.readings.get(key)
                found[key] = (reading.resource if reading else None, those)
        return found

    async def _destroy(self, operations: Sequence[Operation], names: Mapping[int, str]) -> None:
        """Destroy in one call, by id: whatever they are called by now, and whatever is called so now.

        Whether the answer tells of ids or of public ids is not documented alike; two assets may have one public id.
        """
        ids = [operation.id for operation in operations]
        call = self._account.call(
            api.delete_resources_by_asset_ids,
            [operation.known_id for operation in operations],
            invalidate=True,
            purpose=Purpose.WRITE,
        )
        try:
            answer = await attempted(call, self._account.name)
        except CloudinaryError as error:
            await self._all_failed(ids, error)
            return
        deleted = answer.body.get("deleted")
        told = deleted if isinstance(deleted, Mapping) else {}
        alone = {name for name, times in Counter(names.values()).items() if times == 1}
        done = [one.id for one in operations if one.known_id in told or (names[one.id] in told and names[one.id] in alone)]
        await self._complete(done)
        for id_ in set(ids) - set(done):
            # a part only, or told in another way: the next reading tells
            await self._try_again(id_, "Cloudinary's answer does not tell whether it was deleted")

    async def _round(self, due: Mapping[int, Call]) -> None:
        """Make one call for each operation, those that do the same as one."""
        groups: dict[str, list[int]] = {}
        for id_, call in due.items():
            groups.setdefault(call.shared or f"#{id_}", []).append(id_)
        making = (self._make([(id_, due[id_]) for id_ in ids]) for ids in groups.values())
        for made in await asyncio.gather(*making, return_exceptions=True):
            if isinstance(made, BaseException):
                raise made

    async def _make(self, group: Sequence[tuple[int, Call]]) -> None:
        call = group[0][1]
        arguments = (*call.arguments, [each.name.public_id for _, each in group]) if call.shared else call.arguments
        kind = {"resource_type": call.name.resource_type, "type": call.name.type}
        try:
            calling = self._account.call(call.function, *arguments, **kind, **call.options, purpose=Purpose.WRITE)
            answer = await attempted(calling, self._account.name)
            if call.shared and isinstance(reached := answer.body.get("public_ids"), list):
                # what was renamed since we looked is left out without a word
                for id_ in [id_ for id_, each in group if each.name.public_id not in reached]:
                    await self._try_again(id_, f"Cloudinary's {call.function.__name__} did not reach it")
        except CloudinaryError as error:
            if len(group) > 1 and not error.passing and not isinstance(error, CredentialsError):
                # it may lie with one of them
                await asyncio.gather(*(self._make([one]) for one in group))
            else:
                await self._all_failed([id_ for id_, _ in group], error)

    async def _all_failed(self, ids: Sequence[int], error: CloudinaryError) -> None:
        if isinstance(error, CredentialsError):
            self._refused = error
        for id_ in ids:
            if isinstance(error, CredentialsError):
                await self._release(id_, str(error), 0)
            elif isinstance(error, RateLimitedError):
                await self._release(id_, str(error), error.resets_in)
            elif error.passing:
                await self._try_again(id_, str(error))
            elif isinstance(error, NotFoundError) and self._open[id_].kind is Kind.DESTROY:
                await self._settle(id_, None)
            else:
                await self._end_refused(id_, error)

    async def _end_refused(self, id_: int, error: CloudinaryError) -> None:
        """End what Cloudinary refuses, unless it is so by now, as when the effect of an earlier try comes late."""
        operation = self._open[id_]
        if isinstance(error, NotFoundError) or operation.kind is Kind.RENAME:
            try:
                ((_, found),) = await self._reader.by_keys([operation.asset_id or ""])
                if found.refused is not None:
                    await self._settle(id_, in_words(operation, error))
                    return
            except CloudinaryError as unreadable:
                await self._try_again(id_, f"{error} Then: {unreadable}")
                return
            reading = found.readings.get(operation.asset_id or "")
            resource = reading.resource if reading else None
            if is_done(operation, resource):
                await self._settle(id_, None)
                return
            if isinstance(error, NotFoundError) and is_there(resource):
                await self._try_again(id_, "it was renamed meanwhile")
                return
        await self._settle(id_, in_words(operation, error))

    async def _complete(self, ids: Sequence[int]) -> None:
        operations = [self._open[id_] for id_ in ids]
        if operations:
            self._settled += await self._store.complete_all(operations)
        for id_ in ids:
            del self._open[id_]

    async def _settle(self, id_: int, error: str | None) -> None:
        """End it: well, or with a reason."""
        operation = self._open[id_]
        await self._end(id_, self._store.fail(operation, error) if error else self._store.complete(operation))

    async def _try_again(self, id_: int, error: str) -> None:
        await self._end(id_, self._store.again(self._open[id_], error))

    async def _release(self, id_: int, error: str, seconds: float) -> None:
        await self._end(id_, self._store.release(self._open[id_], error, seconds, was_a_try=False))

    async def _end(self, id_: int, settling: Coroutine[object, object, Settled]) -> None:
        try:
            self._settled.append(await settling)
        except LostClaimError:
            log.warning("operation was taken up by another worker", operation=id_)
        del self._open[id_]


def _weighed(operation: Operation, resource: Resource | None) -> tuple[bool, str | None, Sequence[Call]]:
    """Tell whether it is so already, what speaks against it, and which calls would make it so."""
    against = objection(operation, resource)
    if is_done(operation, resource) and (resource is None or against is None):
        return True, None, ()
    return False, against, calls(operation, resource) if resource is not None and against is None else ()


def in_words(operation: Operation, error: CloudinaryError) -> str:
    """Say, for a person, why an operation can't be done."""
    if isinstance(error, NotFoundError):
        return f"the asset is not there (any more), Cloudinary says: {error.said}"
    if operation.kind is Kind.RENAME and (
        isinstance(error, AlreadyExistsError) or (isinstance(error, BadRequestError) and "already exists" in error.said)
    ):
        return f"another asset is called {operation.arguments['to']} already; nothing was renamed"
    return str(error)
