"""What happened to an asset or a folder, for whoever subscribes: CloudEvents 1.0 (https://cloudevents.io)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import itemgetter
from typing import NamedTuple

import orjson

from schemas.asset import COLUMNS, ELEMENTS, Asset, Group
from schemas.folder import FolderAct, FolderEvent
from schemas.reduction import omitted_of, reduce_about, reduce_state

SPEC_VERSION = "1.0"

# Kafka takes a little more, as we make its topics. Only an asset with many megabytes of details comes near.
_MOST_BYTES = 10 * 1024**2
# Of that, what a state may take whatever is told beside it, so that the same asset always has the same state.
_MOST_STATE_BYTES = _MOST_BYTES - 64 * 1024


class EventType(StrEnum):
    """CloudEvents' `type`."""

    CREATED = "media.asset.created"
    UPDATED = "media.asset.updated"
    RENAMED = "media.asset.renamed"
    DELETED = "media.asset.deleted"  # softly: the row stays
    RESTORED = "media.asset.restored"
    PURGED = "media.asset.purged"  # the row is gone
    FOLDER_CREATED = "media.folder.created"
    FOLDER_DELETED = "media.folder.deleted"
    FOLDER_MOVED = "media.folder.moved"


# In the outbox alone, never sent: an event that was dropped, whose state still has to reach `media.assets`.
STATE_ONLY = "media.asset.state"

_FOLDER_TYPES = {
    FolderAct.CREATED: EventType.FOLDER_CREATED,
    FolderAct.DELETED: EventType.FOLDER_DELETED,
    FolderAct.MOVED: EventType.FOLDER_MOVED,
}

# An asset as subscribers see it: a row without what only the mirror needs.
PUBLIC_FIELDS = tuple(name for name in Asset._fields if name not in ("assigned_folder", "clocks"))
_public_values = itemgetter(*map(Asset._fields.index, PUBLIC_FIELDS))
_PUBLIC_COLUMNS = {
    group: ("asset_folder",) if group is Group.FOLDER else (group.value,) if group in ELEMENTS else COLUMNS[group]
    for group in Group
}


class Cause(NamedTuple):
    """The notification behind an event."""

    notification_type: str
    triggered_by: str | None
    topic: str
    partition: int
    offset: int


class MediaEvent(NamedTuple):
    """One event, in the order of the columns of `media_outbox`."""

    cloud: str
    subject: str  # the asset's id, or the folder's path
    type: EventType
    event_id: str  # the same however often it is sent
    event_time: datetime
    revision: int | None  # of an asset: 1, 2, 3… without a gap
    state: bytes | None  # the asset after the change, as JSON; None when it is purged, and of folders
    about: bytes  # the members of the data beside the state, as a JSON object
    sound: bool = True  # that both are JSON, which who reads them need not look at again


def asset_event(before: Asset | None, after: Asset, changed: tuple[Group, ...], moment: datetime, cause: Cause) -> MediaEvent:
    """Tell that an asset has changed."""
    now = _public(after)
    columns = _columns_of(changed)
    told: dict[str, object]
    if before is None:
        told = {column: {"from": None, "to": now[column]} for column in columns}
    else:
        then = _public(before)
        told = {column: {"from": old, "to": now[column]} for column in columns if (old := then[column]) != now[column]}
    state, omitted = _state(now)
    about = _about("changed", told, cause)
    if omitted or len(state) + len(about) > _MOST_STATE_BYTES:
        # what it is now matters more than what it was
        about = orjson.dumps(reduce_about(orjson.loads(about), _MOST_BYTES - len(state), omitted))
    cloud, asset_id, revision = after.cloud, after.asset_id, after.revision
    # by position, which is twice as fast as by name
    return MediaEvent(
        cloud,
        asset_id,
        _type_of(before, after, changed),
        f"{cloud}/{asset_id}/{revision}",
        moment,
        revision,
        state,
        about,
    )


def purge_event(asset: Asset, moment: datetime, cause: Cause) -> MediaEvent:
    """Tell that an asset's row is gone."""
    return MediaEvent(
        cloud=asset.cloud,
        subject=asset.asset_id,
        type=EventType.PURGED,
        event_id=f"{asset.cloud}/{asset.asset_id}/{asset.revision + 1}",
        event_time=moment,
        revision=asset.revision + 1,
        state=None,
        about=_about("changed", {}, cause),
    )


def folder_event(cloud: str, event: FolderEvent, moment: datetime, cause: Cause) -> MediaEvent:
    """Tell what happened to a folder."""
    folder = {"path": event.path} | ({"to_path": event.to_path} if event.to_path else {})
    return MediaEvent(
        cloud=cloud,
        subject=event.path,
        type=_FOLDER_TYPES[event.act],
        event_id=f"{cloud}/folder/{event.clock}",
        event_time=moment,
        revision=None,
        state=None,
        about=_about("folder", folder, cause),
    )


def state_of(asset: Asset) -> bytes:
    """Give an asset as subscribers see it, as JSON; without its largest fields if they are too large."""
    return _state(_public(asset))[0]


def _state(public: Mapping[str, object]) -> tuple[bytes, Sequence[str]]:
    """Give a state as JSON, and the fields that had to be left out."""
    state = orjson.dumps(public)
    if len(state) <= _MOST_STATE_BYTES:
        return state, ()
    left = reduce_state(public, _MOST_STATE_BYTES)
    return orjson.dumps(left), omitted_of(left)


@cache  # few sets of groups change together
def _columns_of(changed: tuple[Group, ...]) -> Sequence[str]:
    return [column for group in changed for column in _PUBLIC_COLUMNS[group]]


def _public(asset: Asset) -> dict[str, object]:
    return dict(zip(PUBLIC_FIELDS, _public_values(asset), strict=True))


def _about(what: str, told: Mapping[str, object], cause: Cause) -> bytes:
    return orjson.dumps({what: told, "cause": cause._asdict()})


def _type_of(before: Asset | None, after: Asset, changed: Collection[Group]) -> EventType:
    if after.deleted_at is not None and (before is None or before.deleted_at is None):
        return EventType.DELETED
    if before is None:
        return EventType.CREATED
    if before.deleted_at is not None and after.deleted_at is None:
        return EventType.RESTORED
    if Group.NAME in changed and before.name is not None and before.name != after.name:
        return EventType.RENAMED
    return EventType.UPDATED
