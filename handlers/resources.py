"""What bodies about several assets have in common."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from schemas.asset import Group
from schemas.bodies import Named, read
from schemas.change import Change
from schemas.notification import Notification

Told: TypeAlias = Mapping[Group, Mapping[str, object]]
NamedT = TypeVar("NamedT", bound=Named)

_ALIVE: Told = {Group.ALIVE: {}}


def each(
    notification: Notification, model: type[NamedT], tell: Callable[[NamedT], Told | str | None], *, as_parts: bool = False
) -> list[Change]:
    """Give a change for each resource of which `tell` has something to say: groups to assert, or a reason to refetch.

    An asset that is changed was alive then. `as_parts`: the groups are told in part. Two resources of one public id in a map are
    both refetched, since whoever reads or writes such a map may have mistaken one for the other.
    """
    changes: list[Change] = []
    for item in notification.resources():
        body = read(model, item)
        if not body.names_an_asset:
            continue
        told = tell(body)
        if told is None:
            continue
        wholes: dict[Group, Mapping[str, object]] = dict(_ALIVE)
        if body.name is not None:
            wholes[Group.NAME] = body.name._asdict()
        reason = told if isinstance(told, str) else None
        parts = told if as_parts and not isinstance(told, str) else {}
        if not as_parts and not isinstance(told, str):
            wholes |= told
        changes.append(Change(body.asset_id, body.name, notification.clock(), wholes, parts, refetch=reason))
    return _with_collisions(notification, changes)


def _with_collisions(notification: Notification, changes: list[Change]) -> list[Change]:
    if not isinstance(notification.body.get("resources"), dict):
        return changes
    public_ids = Counter(change.name.public_id for change in changes if change.name)
    return [
        change._replace(refetch="its public id stands twice in one notification")
        if change.name and public_ids[change.name.public_id] > 1
        else change
        for change in changes
    ]
