"""What bodies about several assets have in common."""

from collections.abc import Callable, Iterator, Mapping
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
) -> Iterator[Change]:
    """Give a change for each resource of which `tell` has something to say: groups to assert, or a reason to refetch.

    An asset that is changed was alive then. `as_parts`: the groups are told in part. Two resources of one public id in a map are
    both refetched, since whoever reads or writes such a map may have mistaken one for the other.
    """
    resources = notification.resources()
    doubled = resources.doubled()
    clock = notification.clock()
    for item in resources:
        body = read(model, item)
        if not body.names_an_asset:
            continue
        told = tell(body)
        if told is None:
            continue
        wholes: dict[Group, Mapping[str, object]] = dict(_ALIVE)
        if body.name is not None:
            wholes[Group.NAME] = body.name._asdict()
        if body.name is not None and body.name.public_id in doubled:
            reason: str | None = "its public id stands twice in one notification"
        else:
            reason = told if isinstance(told, str) else None
        parts = told if as_parts and not isinstance(told, str) else {}
        if not as_parts and not isinstance(told, str):
            wholes |= told
        yield Change(body.asset_id, body.name, clock, wholes, parts, refetch=reason)
