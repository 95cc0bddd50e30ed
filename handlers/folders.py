"""Folders: which there are, and where a path lies now. Both follow from the set of events alone, in whatever order they came."""

from collections.abc import Iterable, Sequence

from handlers.failure import failure_of
from schemas.bodies import Folder, read
from schemas.clock import Clock
from schemas.folder import FolderAct, FolderEvent
from schemas.json import fits
from schemas.mending import MOST_BYTES
from schemas.notification import Notification


def created(notification: Notification) -> list[FolderEvent]:
    """`create_folder`: there is a folder."""
    return _happened(notification, FolderAct.CREATED)


def deleted(notification: Notification) -> list[FolderEvent]:
    """`delete_folder`: there is not, nor any below it."""
    return _happened(notification, FolderAct.DELETED)


def moved(notification: Notification) -> list[FolderEvent]:
    """`move_or_rename_asset_folder`: a folder, the folders below it, and the assets in them lie elsewhere."""
    body = read(Folder, notification.body)
    path, to_path = tidy(body.from_path or ""), tidy(body.to_path or "")
    if not path or not to_path or path == to_path or failure_of(notification.body):
        return []
    return [FolderEvent(FolderAct.MOVED, path, notification.clock(), to_path)]


def _happened(notification: Notification, act: FolderAct) -> list[FolderEvent]:
    path = tidy(read(Folder, notification.body).folder_path or "")
    return [FolderEvent(act, path, notification.clock())] if path and not failure_of(notification.body) else []


def why_nothing(notification: Notification) -> str:
    """Say why a notification about a folder changes none."""
    if failure := failure_of(notification.body):
        return f"no folder has changed: {failure}"
    body = read(Folder, notification.body)
    if body.from_path and body.to_path:
        return "a folder was moved to where it was"
    return "names no folder" + (f": {body.odd}" if body.odd else "")


def tidy(path: str) -> str:
    """Give a folder's path without slashes at its ends, or two in a row."""
    if path[:1] == "/" or path[-1:] == "/" or "//" in path:
        return "/".join(name for name in path.split("/") if name)
    return path


def location(path: str, clock: Clock, moves: Sequence[FolderEvent]) -> str:
    """Give where a path assigned at `clock` lies now. `moves` in clock order; those before the assignment don't touch it."""
    for move in moves:
        if move.clock > clock:
            path = move.moved(path)
    return path


def folders_after(events: Iterable[FolderEvent]) -> dict[str, Clock]:
    """Give the folders that there are, each with the clock of what brought it there. `events` in clock order."""
    folders: dict[str, Clock] = {}
    for event in events:
        match event.act:
            case FolderAct.CREATED:
                folders[event.path] = event.clock
            case FolderAct.DELETED:
                folders = {path: clock for path, clock in folders.items() if not f"{path}/".startswith(f"{event.path}/")}
            case FolderAct.MOVED:
                # the folder was there to be moved, even if nobody told of its creation
                folders.setdefault(event.path, event.clock)
                folders = {
                    (after := event.moved(path)): clock if after == path else event.clock for path, clock in folders.items()
                }
                # no statement can name such a folder, and no index hold it
                folders = {path: clock for path, clock in folders.items() if fits(path, MOST_BYTES["path"])}
    return folders


def sources(new: Iterable[FolderEvent], known: Iterable[FolderEvent]) -> set[str]:
    """Give the paths at or below which an asset may have been assigned that one of the `new` moves moves.

    An asset in a folder when that is moved may have been assigned to another one, which had been moved there before.
    """
    moves = {event.clock: event for event in (*known, *new) if event.act is FolderAct.MOVED}
    in_order = [moves[clock] for clock in sorted(moves)]
    paths: set[str] = set()
    for move in new:
        before = {move.path}
        for earlier in reversed(in_order[: in_order.index(moves[move.clock])]):
            before |= {origin for path in before if (origin := _origin(path, earlier)) is not None}
        paths |= before
    return paths


def _origin(path: str, move: FolderEvent) -> str | None:
    """Give where what lies at or below `path` after a move may have lain before it, if it has moved."""
    assert move.to_path is not None  # noqa: S101  # a move has a goal
    if path == move.to_path or path.startswith(f"{move.to_path}/"):
        return move.path + path[len(move.to_path) :]
    if move.to_path.startswith(f"{path}/"):
        return move.path
    return None
