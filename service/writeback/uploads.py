"""Uploads that we perform: mirrored, or undone."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from cloudinary import api, uploader

from schemas.asset import AssetName
from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account, Purpose
from service.cloudinary.errors import AlreadyExistsError, CloudinaryError, CredentialsError, RateLimitedError
from service.cloudinary.reading import Reader, Reading, explicit
from service.database import DatabaseUnreachableError
from service.mirror.patience import OUTAGES
from service.publisher import NotDurableError
from service.settings import Settings
from service.writeback.attempt import attempted
from service.writeback.checks import fault_of, fault_of_upload
from service.writeback.effects import context_of, is_there
from service.writeback.operations import Operation, Settled
from service.writeback.store import LostClaimError, OperationStore

log = structlog.get_logger(__name__)

# Each upload carries this key in its contextual metadata, with a value that nobody else knows. It alone tells, after a time-out
# or a crash, whether what lies there under our name is ours: nothing else is destroyed. Who overwrites it, takes it away.
MARK = "mediamirror_upload"

LIMIT = 8
_LONGEST_UNDO_PAUSE = 600.0  # seconds


class Uploads:
    """Works off the uploads of one cloud.

    An upload is first looked for by its name: it may be there since a try of which we know nothing. What is there and not ours
    fails the operation. Then its snapshot is announced; when Kafka does not take it in as many tries as an operation has, or the
    mirror can't apply it, the upload is undone, for which there is no last try.
    """

    def __init__(self, account: Account, store: OperationStore, announcer: Announcer, settings: Settings) -> None:
        self._account = account
        self._store = store
        self._announcer = announcer
        self._settings = settings
        self._reader = Reader(account, Purpose.WRITE)

    async def batch(self, limit: int = LIMIT) -> list[Settled]:
        """Do what is due, up to `limit` uploads; gives what became of each.

        Raises `CredentialsError`, with nothing counted as a try, and PostgreSQL's errors.
        """
        operations = await self._store.claim(self._account.name, min(limit, LIMIT), uploads=True)
        if not operations:
            return []
        async with self._store.held(operations):
            settled = await asyncio.gather(*map(self._one, operations), return_exceptions=True)
        for one in settled:
            if isinstance(one, BaseException):
                raise one
        return [one for one in settled if isinstance(one, Settled)]

    async def _one(self, operation: Operation) -> Settled | None:
        try:
            return await self._go_on(operation)
        except CredentialsError as error:
            await self._store.release(operation, str(error), 0, was_a_try=False)
            raise
        except RateLimitedError as error:
            return await self._store.release(operation, str(error), error.resets_in, was_a_try=False)
        except LostClaimError:
            log.warning("upload was taken up by another worker", operation=operation.id)
            return None
        except (DatabaseUnreachableError, *OUTAGES):
            raise
        except Exception as error:
            # tried again in a while, rather than left to its lease
            await self._begin_again(operation, f"the write-back failed: {error!r}")
            raise

    async def _go_on(self, operation: Operation) -> Settled:
        if reason := fault_of_upload(operation):
            return await self._store.fail(operation, reason)
        if "undo" in operation.result:
            return await self._undo(operation)
        if self._store.is_beyond(operation):
            return await self._begin_undo(operation, "given up: no try came to its end")
        if reason := fault_of(operation):
            may_be_there = operation.result.get("unsure_until") or "asset_id" in operation.result
            return await (self._begin_undo if may_be_there else self._store.fail)(operation, reason)
        return await self._try(operation)

    async def _try(self, operation: Operation) -> Settled:
        try:
            found = await self._find(operation)
        except CloudinaryError as error:
            return await self._failed(operation, error, begun=operation.started_at is not None)
        reading, read_at = found
        if not (await self._store.start([operation], read_at)):
            raise LostClaimError
        operation = replace(operation, started_at=operation.started_at or read_at)
        if reading is None:
            if "asset_id" in operation.result:
                return await self._store.fail(
                    operation, "it was uploaded, and deleted again by somebody else before it was mirrored"
                )
            try:
                await self._upload(operation)
                reading, _ = await self._find(operation)
            except CloudinaryError as error:
                return await self._failed(operation, error, begun=True)
        if reading is None:
            return await self._begin_again(operation, "Cloudinary took it, and does not have it")
        if not is_ours(operation, reading.resource):
            replaced = "it was uploaded, and replaced by somebody else before it was mirrored; that was left as it is"
            return await self._store.fail(operation, replaced if "asset_id" in operation.result else _taken(operation))
        return await self._mirror(operation, reading)

    async def _upload(self, operation: Operation) -> None:
        name, arguments = _name(operation), operation.arguments
        options = dict(arguments.get("options") or {})
        context = dict(options.pop("context", {})) | {MARK: arguments["token"]}
        # it may still come to be after a time-out, and after us
        await self._store.note(operation, {"unsure_until": self._until(self._settings.cloudinary_timeout * 2)})
        call = self._account.call(
            uploader.upload,
            arguments["url"],
            public_id=name.public_id,
            resource_type=name.resource_type,
            type=name.type,
            overwrite=False,
            unique_filename=False,
            context=context,
            **options,
            purpose=Purpose.WRITE,
        )
        await attempted(call, self._account.name)
        await self._store.note(operation, {"unsure_until": None})

    async def _failed(self, operation: Operation, error: CloudinaryError, *, begun: bool) -> Settled:
        """Try again, or give up; what may be there by now is undone."""
        if isinstance(error, (CredentialsError, RateLimitedError)):
            raise error
        if isinstance(error, AlreadyExistsError):
            return await self._store.fail(operation, _taken(operation))
        if error.passing:
            return await self._begin_again(operation, str(error), undo=begun)
        if operation.result.get("unsure_until"):
            # an earlier try, of which we know nothing, may have brought it there
            return await self._begin_undo(operation, str(error))
        return await self._store.fail(operation, str(error), {"unsure_until": None})

    async def _begin_again(self, operation: Operation, error: str, *, undo: bool = True) -> Settled:
        if operation.attempts < self._settings.operations_attempts:
            return await self._store.release(operation, error, self._store.backoff(operation))
        reason = f"given up after {operation.attempts} tries; the last: {error}"
        return await self._begin_undo(operation, reason) if undo else await self._store.fail(operation, reason)

    async def _mirror(self, operation: Operation, reading: Reading) -> Settled:
        resource = reading.resource
        asset_id = str(resource["asset_id"])
        told = {name: resource.get(name) for name in ("asset_id", "version", "secure_url", "bytes")}
        await self._store.note(operation, told, asset_id)
        try:
            told_of = explicit(reading).resource
            digest = await self._announcer.announce(self._account, "snapshot", told_of, reading.read_at, "upload")
        except NotDurableError as error:
            if await self._store.is_mirrored(operation.cloud, asset_id):
                return await self._store.complete(operation)  # its own webhook was faster
            return await self._begin_again(operation, f"uploaded, and Kafka does not take its notification: {error.reason}")
        return await self._store.complete(operation, {"digest": digest})

    async def _begin_undo(self, operation: Operation, reason: str) -> Settled:
        await self._store.note(operation, {"undo": reason})
        return await self._undo(replace(operation, result=dict(operation.result) | {"undo": reason}))

    async def _undo(self, operation: Operation) -> Settled:
        """Destroy what is ours, and end the operation once it is gone; tried for as long as it takes."""
        reason = str(operation.result["undo"])
        pause = min(max(self._store.backoff(operation), self._settings.operations_backoff / 2), _LONGEST_UNDO_PAUSE)
        try:
            reading, _ = await self._find(operation)
            if reading is not None and is_ours(operation, reading.resource):
                # by its id, which nobody else can have got in the meantime
                ids = [str(reading.resource["asset_id"])]
                call = self._account.call(api.delete_resources_by_asset_ids, ids, invalidate=True, purpose=Purpose.WRITE)
                await attempted(call, self._account.name)
                reading, _ = await self._find(operation)
                if reading is not None and is_ours(operation, reading.resource):
                    return await self._store.release(operation, f"{reason}; it is not gone yet", pause)
                return await self._store.fail(operation, f"{reason}; what was uploaded was destroyed again")
        except CloudinaryError as error:
            if isinstance(error, (CredentialsError, RateLimitedError)):
                raise
            return await self._store.release(operation, f"{reason}; undoing it failed: {error}", pause)
        if reading is not None:
            return await self._store.fail(operation, f"{reason}; what lies under its name is somebody else's, and was left alone")
        if (until := operation.result.get("unsure_until")) and (left := _seconds_to(until)) > 0:
            return await self._store.release(operation, f"{reason}; it may still come to be", min(left, pause))
        return await self._store.fail(operation, f"{reason}; nothing is left of it at Cloudinary")

    async def _find(self, operation: Operation) -> tuple[Reading | None, datetime]:
        """Give what is there: under its id, once it is known, else under its name; and when that was read."""
        if asset_id := operation.result.get("asset_id"):
            ((_, found),) = await self._reader.by_ids([str(asset_id)])
            reading = found.readings.get(str(asset_id))
        else:
            name = _name(operation)
            ((_, found),) = await self._reader.by_names(name.resource_type, name.type, [name.public_id])
            reading = found.readings.get(name.public_id)
        if found.refused is not None:
            raise found.refused
        return (reading if reading and is_there(reading.resource) else None), found.read_at

    def _until(self, seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def is_ours(operation: Operation, resource: Mapping[str, Any]) -> bool:
    """Tell whether an asset is what this operation has uploaded."""
    token = operation.arguments["token"]
    return isinstance(token, str) and bool(context_of(resource).get(MARK) == token)


def _name(operation: Operation) -> AssetName:
    assert operation.name is not None  # noqa: S101  # the table wants a name of every upload
    return operation.name


def _taken(operation: Operation) -> str:
    return f"an asset {_name(operation)} exists already at Cloudinary; it was left as it is. Upload under another public id"


def _seconds_to(moment: object) -> float:
    try:
        return (datetime.fromisoformat(str(moment)) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # not written by us
        return 0.0
