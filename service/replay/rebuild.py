"""Make the mirror what the log says, in one transaction."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from schemas.asset import Asset, AssetKey, Group
from schemas.clock import latest_time
from schemas.event import Cause, MediaEvent, asset_event, purge_event
from service.database import Connection, Pool
from service.mirror.graves import Graves
from service.mirror.store import write_events, write_rows
from service.replay.compare import Difference, deleted_by_sql, differences
from service.replay.published import Published, read_published
from service.replay.scratch import Progress, applied_positions, records_between, scratch
from service.settings import Settings
from service.sql import FOLDER, query

_CHUNK = 1000


@dataclass
class Rebuilt:
    """What was read, and what was put right."""

    read: int = 0  # notifications
    changed: int = 0  # rows that were different
    restored: int = 0  # rows that were missing
    removed: int = 0  # rows that the log knows nothing of
    folders: int = 0
    events: int = 0
    failed: int = 0  # notifications that can't be processed: dead letters of the mirror


async def rebuild(
    settings: Settings, live: Pool, tell: Callable[[Difference], None], *, progress: Progress, expect: Callable[[int], None]
) -> Rebuilt:
    """Fold the log aside while the mirror works; then, while it waits, catch up, and put right each row that differs.

    A row that is right keeps its revision, and nobody is told; one that was deleted by SQL stays away. One that is put right goes
    one revision up and sends its event. All or nothing: an error leaves everything as it was. Lost tables are made again.
    """
    rebuilt = Rebuilt()

    def count(read: int) -> None:
        rebuilt.read += read
        progress(read)

    async with scratch(settings, live) as other:
        async with live.acquire() as ours:
            applied = await applied_positions(ours, other)
        expect(records_between(other.positions, applied))
        await other.fold(applied, count)
        async with live.acquire() as ours, ours.transaction():
            await ours.execute(query("mirror", "lock_mirrors"))
            await ours.execute(query("scratch", "restore_tables").format(name=other.name))
            await ours.execute((FOLDER / "views.sql").read_text())
            await other.fold(await applied_positions(ours, other), count)
            rebuilt.failed = other.failed
            async with other.pool.acquire() as theirs, theirs.transaction():
                repair = _Repair(settings, ours, theirs, rebuilt)
                async for chunk in _chunks(differences(ours, theirs, await deleted_by_sql(ours))):
                    for difference in chunk:
                        tell(difference)
                    await repair.put_right(chunk)
            if rebuilt.folders:
                await ours.execute(query("scratch", "replace_folders").format(name=other.name))
    return rebuilt


async def _chunks(found: AsyncIterator[Difference]) -> AsyncIterator[list[Difference]]:
    chunk: list[Difference] = []
    async for difference in found:
        chunk.append(difference)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Repair:
    """Rows put right on one connection from what another one sees."""

    def __init__(self, settings: Settings, ours: Connection, theirs: Connection, rebuilt: Rebuilt) -> None:
        self._settings = settings
        self._ours = ours
        self._theirs = theirs
        self._rebuilt = rebuilt
        self._published: dict[AssetKey, Published] | None = None
        self._cause = Cause("rebuild", None, settings.notifications_topic, -1, -1)

    async def put_right(self, chunk: Sequence[Difference]) -> None:
        self._rebuilt.folders += sum(one.kind == "folder" for one in chunk)
        keys = {what: _keys(chunk, what) for what in ("different", "missing", "extra")}
        wrong = await _rows(self._ours, keys["different"])
        right = await _rows(self._theirs, [*keys["different"], *keys["missing"]])
        extra = await _rows(self._ours, keys["extra"])
        missing: dict[str, list[str]] = {}
        for key in keys["missing"]:
            missing.setdefault(key.cloud, []).append(key.asset_id)
        graves = Graves(self._ours)
        purged = await graves.of(missing)
        assets: list[Asset] = []
        events: list[MediaEvent] = []
        for key, asset in right.items():
            before = wrong.get(key)
            gone = purged[key].revision if key in purged else 0
            after, is_news = self._next(asset, before) if before else await self._revived(asset, gone)
            assets.append(after)
            if is_news:
                events.append(asset_event(before, after, tuple(Group), latest_time(after.clocks.values()), self._cause))
        events += [purge_event(asset, latest_time(asset.clocks.values()), self._cause) for asset in extra.values()]
        if assets:
            await write_rows(self._ours, assets)
            await graves.leave()
        if extra:
            await self._ours.execute(query("scratch", "remove_rows"), *zip(*extra, strict=True))
        await write_events(self._ours, events)
        self._rebuilt.changed += len(wrong)
        self._rebuilt.restored += len(right) - len(wrong)
        self._rebuilt.removed += len(extra)
        self._rebuilt.events += len(events)

    @staticmethod
    def _next(asset: Asset, before: Asset) -> tuple[Asset, bool]:
        """Give the row's next revision; when only its clocks were wrong, nobody sees a change, and it keeps the one it has."""
        same = asset._replace(revision=before.revision)
        visible = same._replace(clocks=before.clocks, assigned_folder=before.assigned_folder) != before
        return (asset._replace(revision=before.revision + 1), True) if visible else (same, False)

    async def _revived(self, asset: Asset, purged: int) -> tuple[Asset, bool]:
        """Give a row that was lost the revision it had, as far as subscribers know it; the next one if they know it otherwise.

        `purged`: the revision at which it was deleted from the table, 0 if that was not told.
        """
        if self._published is None:
            self._published = await read_published(self._settings, self._ours)
        told = self._published.get(asset.key)
        if told is None:
            return asset._replace(revision=max(asset.revision, purged + 1)), True
        same = asset._replace(revision=told.revision)
        return (same, False) if told.tells(same) else (asset._replace(revision=told.revision + 1), True)


def _keys(chunk: Sequence[Difference], what: str) -> list[AssetKey]:
    return [AssetKey(one.cloud, one.subject) for one in chunk if one.kind == "asset" and one.what == what]


async def _rows(connection: Connection, keys: Sequence[AssetKey]) -> dict[AssetKey, Asset]:
    if not keys:
        return {}
    rows = await connection.fetch(query("scratch", "some_rows"), [key.cloud for key in keys], [key.asset_id for key in keys])
    return {asset.key: asset for asset in (Asset._make(row) for row in rows)}
