"""What an event leaves out when it would be larger than Kafka takes: whole fields, the largest first, each of them named."""

from collections.abc import Collection, Mapping

import orjson

OMITTED = "omitted"

# What a subscriber can't do without: which asset, which revision, whether it is alive. None of it can be large.
KEPT = frozenset({"cloud", "asset_id", "revision", "deleted_at", OMITTED})

# A field before and after that were left out.
LEFT_OUT: Mapping[str, object] = {"from": None, "to": None, OMITTED: True}


def reduce_state(state: Mapping[str, object], most: int) -> dict[str, object]:
    """Leave out an asset's largest fields, and name them in `omitted`, until it has `most` bytes as JSON, or none are left."""
    sizes = _sizes(state)
    excess = sum(sizes.values()) + 2 - most
    gone = omitted_of(state)
    for name in _largest_first(sizes, KEPT):
        if excess <= 0:
            break
        gone.append(name)
        excess -= sizes[name] - len(name) - 3
    left = {name: value for name, value in state.items() if name not in gone}
    return left | {OMITTED: sorted(gone)} if gone else left


def reduce_about(about: Mapping[str, object], most: int, omitted: Collection[str] = ()) -> dict[str, object]:
    """Leave out the largest values of what has changed, and who did it if that is not enough, until about `most` bytes are left.

    `omitted`: the fields that the state beside it lacks. All are named.
    """
    left = dict(about)
    gone = {*omitted_of(about), *omitted}
    excess = len(orjson.dumps(left)) - most
    changed = left.get("changed")
    if isinstance(changed, Mapping):
        changes = dict(changed)
        sizes = _sizes(changes)
        for name in _largest_first(sizes, ()):
            if excess <= 0 or sizes[name] <= _size(name, LEFT_OUT):
                break
            changes[name] = LEFT_OUT
            gone.add(name)
            excess -= sizes[name] - _size(name, LEFT_OUT)
        left["changed"] = changes
    cause = left.get("cause")
    if excess > 0 and isinstance(cause, Mapping) and cause.get("triggered_by") is not None:
        left["cause"] = {**cause, "triggered_by": None}
        gone.add("triggered_by")
    return left | {OMITTED: sorted(gone)} if gone else left


def reduced(state: bytes | None, about: bytes, most: int) -> tuple[bytes | None, bytes]:
    """Reduce an event's two parts to `most` bytes together, as far as that goes. Raises `ValueError` for what is no JSON."""
    told, now = orjson.loads(about), None if state is None else orjson.loads(state)
    size = len(about) + len(state or b"")
    if size > most:
        # what it is now matters more than what it was
        told = reduce_about(told, max(most - len(state or b""), most // 4))
    if now is not None:
        now = reduce_state(now, most - len(orjson.dumps(told)))
        told = reduce_about(told, most, omitted_of(now))
    return None if now is None else orjson.dumps(now), orjson.dumps(told)


def omitted_of(members: Mapping[str, object]) -> list[str]:
    """Give the names of what was left out."""
    names = members.get(OMITTED)
    return [str(name) for name in names] if isinstance(names, list) else []


def _sizes(members: Mapping[str, object]) -> dict[str, int]:
    return {name: _size(name, value) for name, value in members.items()}


def _size(name: str, value: object) -> int:
    return len(orjson.dumps(name)) + len(orjson.dumps(value)) + 2


def _largest_first(sizes: Mapping[str, int], kept: Collection[str]) -> list[str]:
    # by name among those as large, so that the same asset is always reduced in the same way
    return sorted(sizes.keys() - kept, key=lambda name: (-sizes[name], name))
