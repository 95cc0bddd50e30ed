"""After whatever an account has lived through, told in whatever order, the mirror shows what is true."""

from collections.abc import Iterable, Sequence
from itertools import cycle, islice

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.asset import COLUMNS, OF_CONTENT, AssetKey, Group
from tests.account import Account
from tests.account.histories import accounts
from tests.account.readings import read_asset
from tests.bodies import CLOUD
from tests.folding import MemoryMirror

_CONTENT = frozenset(column for group in (*OF_CONTENT, Group.PLACEHOLDER) for column in COLUMNS.get(group, (group.value,)))
_MANY = settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def delivered(data: st.DataObject, account: Account, told: Sequence[bytes], mirror: MemoryMirror) -> None:
    """In any order, some twice, in batches of any size. What is sent again is signed anew: all, at last, now."""
    if not told:
        return
    numbers = range(len(told))
    doubled = [*numbers, *data.draw(st.lists(st.sampled_from(numbers), max_size=3), label="told twice")]
    bodies = (told[number] for number in data.draw(st.permutations(doubled), label="order"))
    sizes = data.draw(st.lists(st.integers(min_value=1, max_value=8), min_size=1, max_size=3), label="batch sizes")
    for size in cycle(sizes):
        if not (batch := list(islice(bodies, size))):
            return
        mirror.apply(batch, signed_at=int(account.now.timestamp()))


def answers(account: Account, keys: Iterable[AssetKey]) -> list[bytes]:
    return [told for key in sorted(set(keys)) if (told := read_asset(account, key.asset_id))]


def differences(account: Account, mirror: MemoryMirror) -> list[str]:
    found = []
    rows = dict(mirror.rows)
    for asset in account.assets:
        who = f"{asset.asset_id} ({'/'.join(asset.name)})"
        row = rows.pop(AssetKey(CLOUD, asset.asset_id), None)
        if row is None:
            found.append(f"{who}: no row")
            continue
        found += [
            f"{who}: {column} is {value!r}, the mirror shows {getattr(row, column)!r}"
            for column, value in asset.columns().items()
            if getattr(row, column) != value
        ]
        # an upload's notification does not say when the first upload was
        if asset.deleted_at is None and row.uploaded_at not in {None, asset.created_at}:
            found.append(f"{who}: uploaded_at is {asset.created_at}, the mirror shows {row.uploaded_at}")
    found += [f"{key}: there is no such asset" for key in rows]
    if mirror.folders.keys() != account.folders:
        found.append(f"folders are {sorted(account.folders)}, the mirror shows {sorted(mirror.folders)}")
    return found


@_MANY
@given(data=st.data(), account=accounts())
def test_notifications_tell_all_but_what_the_mirror_asks_for(data: st.DataObject, account: Account) -> None:
    mirror = MemoryMirror()
    delivered(data, account, account.told, mirror)
    asked = {refetch.key.asset_id for refetch in mirror.refetches}
    assert account.silently_changed <= asked
    delivered(data, account, answers(account, (AssetKey(CLOUD, asset_id) for asset_id in account.silently_changed)), mirror)
    found = differences(account, mirror)
    assert not found, "\n".join(found)


@_MANY
@given(data=st.data(), account=accounts(swept=True))
def test_readings_may_be_mixed_with_what_they_have_read(data: st.DataObject, account: Account) -> None:
    mirror = MemoryMirror()
    late = data.draw(st.sets(st.sampled_from(range(len(account.told)))), label="late")
    delivered(data, account, [told for number, told in enumerate(account.told) if number not in late], mirror)
    outstanding = [account.told[number] for number in sorted(late)]
    answered = 0
    while outstanding or len(mirror.refetches) > answered:
        asked, answered = mirror.refetches[answered:], len(mirror.refetches)
        read = answers(account, (refetch.key for refetch in asked))
        delivered(data, account, [*outstanding, *read], mirror)
        outstanding = []
    found = differences(account, mirror)
    assert not found, "\n".join(found)


@_MANY
@given(data=st.data(), account=accounts(swept=True))
def test_a_complete_reading_puts_content_right_whatever_was_lost(data: st.DataObject, account: Account) -> None:
    mirror = MemoryMirror()
    lost = data.draw(st.sets(st.sampled_from(range(len(account.told)))), label="lost")
    delivered(data, account, [told for number, told in enumerate(account.told) if number not in lost], mirror)
    delivered(data, account, answers(account, (AssetKey(CLOUD, asset.asset_id) for asset in account.assets)), mirror)
    for asset in account.live():
        row = mirror.asset(asset.asset_id)
        truth = {column: value for column, value in asset.columns().items() if column in _CONTENT}
        assert {column: getattr(row, column) for column in truth} == truth
