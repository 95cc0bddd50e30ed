"""What bodies about several assets have in common."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from handlers.failure import failure_of
from schemas.asset import Group
from schemas.bodies import Body, Named, read
from schemas.change import Change
from schemas.clock import Clock
from schemas.json import JSONObject
from schemas.notification import Notification
from schemas.resources import Resources

Told: TypeAlias = Mapping[Group, Mapping[str, object]]
# Groups to assert, a reason to ask the account, or both.
Answer: TypeAlias = Told | str | tuple[Told, str]
NamedT = TypeVar("NamedT", bound=Named)

_ALIVE: Told = {Group.ALIVE: {}}
_AT_THE_TOP = "told in a shape that is not known: of one asset, at the top"


def each(
    notification: Notification, model: type[NamedT], tell: Callable[[NamedT], Answer], *, as_parts: bool = False
) -> Iterator[Change]:
    """Give a change for each resource, of what `tell` has to say of it.

    An asset that is changed was alive then. `as_parts`: the groups are told in part. Two resources of one public id in a map are
    both refetched, since whoever reads or writes such a map may have mistaken one for the other.
    """
    resources = notification.resources()
    doubled = resources.doubled() if resources.mapped else ()
    clock = notification.clock()

    def change(body: NamedT, item: JSONObject) -> Change | None:
        if failure := failure_of(item):
            return question(body, clock, failure)
        if not body.names_an_asset:
            return question(body, clock, f"{notification.type} names it only in part")
        told, reason = _divided(tell(body))
        name = body.name
        wholes: dict[Group, Mapping[str, object]] = dict(_ALIVE)
        if name is not None:
            wholes[Group.NAME] = name._asdict()
        if name is not None and name.public_id in doubled:
            reason = "its public id stands twice in one notification"
        if not as_parts:
            wholes |= told
        return Change(body.asset_id, name, clock, wholes, told if as_parts else {}, refetch=and_odd(reason, body))

    return of_each(notification.body, resources, model, change)


def _divided(answer: Answer) -> tuple[Told, str | None]:
    if isinstance(answer, str):
        return {}, answer
    return answer if isinstance(answer, tuple) else (answer, None)


def of_each(
    body: JSONObject, resources: Resources, model: type[NamedT], change: Callable[[NamedT, JSONObject], Change | None]
) -> Iterator[Change]:
    """Give what `change` makes of each resource; without one, of the body itself, which is then asked about as well.

    Those of which it makes nothing, since they name nothing, are counted in the reason of the last of the others.
    """
    last: Change | None = None
    left_out = 0
    for item in resources:
        made = change(read(model, item), item)
        if made is None:
            left_out += 1
            continue
        if last is not None:
            yield last
        last = made
    if last is not None:
        note = joined((last.note, f"{left_out} more of its resources name no asset")) if left_out else last.note
        yield last._replace(note=note)
    elif (made := change(read(model, body), body)) is not None:
        yield made if made.refetch else made._replace(refetch=_AT_THE_TOP)


def question(body: Named, clock: Clock, reason: str) -> Change | None:
    """Ask about the asset that a body names, be it only in part; None when it names none."""
    name = body.name if body.asset_id is not None else body.likely_name
    if body.asset_id is None and name is None:
        return None
    return Change(body.asset_id, name, clock, refetch=and_odd(reason, body))


def and_odd(reason: str | None, body: Body) -> str | None:
    """Add what can't be read of a body, which is a reason to ask, too."""
    return reason if body.odd is None else joined((reason, body.odd))


def joined(reasons: Iterable[str | None]) -> str | None:
    """Give several reasons as one."""
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None
