"""Lives that an account may have, for Hypothesis to draw."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st

from tests.account import contents, jobs, labels, names, odd, places, readings
from tests.account.account import Account, is_at_or_below
from tests.account.asset import Name, StoredAsset

T = TypeVar("T")
Act: TypeAlias = Callable[[Account, st.DrawFn], None]

_GAPS = st.sampled_from(
    [timedelta(microseconds=1), timedelta(milliseconds=20), timedelta(seconds=0.5), timedelta(seconds=1), timedelta(hours=3)]
)
_COIN = st.booleans()
_SIZE = st.integers(min_value=0, max_value=5)
_PUBLIC_IDS = st.sampled_from(["a", "dir/b c", "7", 'é"'])
_NAMES = st.builds(Name, st.sampled_from(["image", "video", "raw"]), st.sampled_from(["upload", "private"]), _PUBLIC_IDS)
_TAGS = st.sets(st.sampled_from(["x", "y", "z"]), max_size=2)
_CONTEXT_NAMES = st.sampled_from(["alt", "caption"])
_CONTEXT = st.dictionaries(_CONTEXT_NAMES, st.sampled_from(["", "one", "two"]), max_size=2)
_FIELDS = st.sampled_from(["brand", "sizes"])
_METADATA = st.dictionaries(_FIELDS, st.sampled_from(["acme", 7, ["s", "m"]]), max_size=2)
_ACCESS: st.SearchStrategy[list[dict[str, Any]]] = st.sampled_from(
    [[], [{"access_type": "token"}], [{"access_type": "anonymous"}]]
)
_DISPLAY_NAMES = st.sampled_from(["Summer", "Winter", ""])
_MODERATIONS = st.lists(st.sampled_from(["manual", "aws_rek"]), unique=True, max_size=2)
_TRANSFORMATIONS = st.lists(st.sampled_from(["w_10", "w_20"]), min_size=1, unique=True)
_STEMS = st.sampled_from(["f", "f2", "g"])


def _pick(draw: st.DrawFn, among: Sequence[T]) -> T:
    return among[draw(st.integers(min_value=0, max_value=len(among) - 1))]


def _some(draw: st.DrawFn, account: Account) -> list[StoredAsset]:
    live = account.live()
    chosen = draw(st.integers(min_value=1, max_value=2 ** len(live) - 1))
    return [asset for bit, asset in enumerate(live) if chosen & 1 << bit]


def _any_folder(draw: st.DrawFn, account: Account) -> str:
    return _pick(draw, ["", *sorted(account.folders)])


def _free_path(draw: st.DrawFn, account: Account) -> str | None:
    parent, stem = _any_folder(draw, account), draw(_STEMS)
    path = f"{parent}/{stem}" if parent else stem
    return None if path in account.folders else path


def _upload(account: Account, draw: st.DrawFn) -> None:
    given: dict[str, Any] = {}
    if draw(_COIN):
        given["asset_folder"] = _any_folder(draw, account)
    if draw(_COIN):
        given |= {"tags": draw(_TAGS), "context": draw(_CONTEXT), "metadata": draw(_METADATA), "access_control": draw(_ACCESS)}
        given = {label: value for label, value in given.items() if value}
    name, live = draw(_NAMES), account.live()
    likeness = draw(st.integers(min_value=0, max_value=2)) if live else 0
    if likeness:
        # over another, or beside it: only the resource type tells them apart
        like = _pick(draw, live).name
        name = like if likeness == 1 else like._replace(resource_type=name.resource_type)
    contents.upload(account, name, draw(_SIZE), moderations=draw(_MODERATIONS), given=given)


def _overwrite(account: Account, draw: st.DrawFn) -> None:
    contents.upload(account, _pick(draw, account.live()).name, draw(_SIZE))


def _upload_existing(account: Account, draw: st.DrawFn) -> None:
    contents.upload_without_overwrite(account, _pick(draw, account.live()))


def _delete(account: Account, draw: st.DrawFn) -> None:
    contents.delete(account, _some(draw, account), backed_up=draw(_COIN))


def _restore(account: Account, draw: st.DrawFn) -> None:
    if restorable := contents.restorable(account):
        contents.restore(account, _pick(draw, restorable), draw(_SIZE), renumbered=draw(_COIN))


def _rename(account: Account, draw: st.DrawFn) -> None:
    asset = _pick(draw, account.live())
    name = draw(_NAMES)._replace(resource_type=asset.name.resource_type)
    holder = account.holder(name)
    if holder is None:
        names.rename(account, asset, name.public_id, name.type)
    elif holder is not asset:
        names.rename_over(account, asset, holder, lambda: account.pass_time(draw(_GAPS)))


def _swap(account: Account, draw: st.DrawFn) -> None:
    one = _pick(draw, account.live())
    if others := [asset for asset in account.live() if asset is not one and asset.name[:2] == one.name[:2]]:
        names.swap(account, one, _pick(draw, others), lambda: account.pass_time(draw(_GAPS)))


def _publish(account: Account, draw: st.DrawFn) -> None:
    asset = _pick(draw, account.live())
    if asset.name.type != "upload" and account.holder(asset.name._replace(type="upload")) is None:
        names.publish(account, asset)


def _change_tags(account: Account, draw: st.DrawFn) -> None:
    labels.change_tags(account, _some(draw, account), added=draw(_TAGS), removed=draw(_TAGS))


def _replace_tags(account: Account, draw: st.DrawFn) -> None:
    labels.replace_tags(account, _some(draw, account), draw(_TAGS))


def _change_context(account: Account, draw: st.DrawFn) -> None:
    removed = draw(st.sets(_CONTEXT_NAMES))
    labels.change_context(account, _some(draw, account), values=draw(_CONTEXT), removed=removed, as_objects=draw(_COIN))


def _change_metadata(account: Account, draw: st.DrawFn) -> None:
    removed = draw(st.sets(_FIELDS))
    labels.change_metadata(account, _some(draw, account), values=draw(_METADATA), removed=removed, whole=draw(_COIN))


def _change_display_name(account: Account, draw: st.DrawFn) -> None:
    labels.change_display_name(account, _pick(draw, account.live()), draw(_DISPLAY_NAMES))


def _change_access(account: Account, draw: st.DrawFn) -> None:
    labels.change_access(account, _some(draw, account), draw(_ACCESS))


def _move(account: Account, draw: st.DrawFn) -> None:
    places.move(account, _some(draw, account), _any_folder(draw, account))


def _create_folder(account: Account, draw: st.DrawFn) -> None:
    """Often with one below it."""
    if path := _free_path(draw, account):
        places.create_folder(account, path)
        if draw(_COIN):
            account.pass_time(draw(_GAPS))
            places.create_folder(account, f"{path}/{draw(_STEMS)}")


def _delete_folder(account: Account, draw: st.DrawFn) -> None:
    if empty := [folder for folder in sorted(account.folders) if not account.inside(folder)]:
        places.delete_folder(account, _pick(draw, empty))


def _move_folder(account: Account, draw: st.DrawFn) -> None:
    if account.folders:
        folder, path = _pick(draw, sorted(account.folders)), _free_path(draw, account)
        if path and not is_at_or_below(path, folder):
            places.move_folder(account, folder, path)


def _order(account: Account, draw: st.DrawFn) -> None:
    jobs.order(account, "eager" if draw(_COIN) else "info", _pick(draw, account.live()))


def _finish(account: Account, draw: st.DrawFn) -> None:
    if not account.jobs:
        return
    job = _pick(draw, account.jobs)
    account.jobs.remove(job)
    if job.type == "eager":
        jobs.derive(account, job, draw(_TRANSFORMATIONS), fail=draw(_COIN))
    elif job.type == "info":
        jobs.inform(account, job, draw(_TAGS), as_object=draw(_COIN))
    else:
        jobs.judge(account, job, "approved" if draw(_COIN) else "rejected")


def _overturn(account: Account, draw: st.DrawFn) -> None:
    if placeholders := [asset for asset in account.live() if asset.content.placeholder]:
        asset = _pick(draw, placeholders)
        rejected = [kind for kind, verdict in asset.moderation.items() if verdict["status"] == "rejected"]
        if len(rejected) == 1:
            jobs.overturn(account, asset, rejected[0])


def _sweep(account: Account, draw: st.DrawFn) -> None:
    """Someone lists the account meanwhile."""
    assets = [asset for asset in account.assets if draw(_COIN)]
    if draw(_COIN):
        account.told.append(readings.list_assets(account, assets))
    else:
        account.told += [told for asset in assets if (told := readings.read_asset(account, asset.asset_id))]


# A life has a few themes, so that what belongs together meets often.
_THEMES: Sequence[Sequence[Act]] = (
    (_upload_existing, _overwrite, _delete, _restore, _restore),
    (_rename, _swap, _publish, _delete),
    (_change_tags, _replace_tags, _change_context, _change_metadata, _change_display_name, _change_access),
    (_create_folder, _create_folder, _move, _move_folder, _move_folder, _delete_folder),
    (_order, _finish, _finish, _overturn),
)
_ON_ANYTHING = frozenset([_upload, _restore, _create_folder, _move_folder, _delete_folder, _finish, _sweep])


@st.composite
def accounts(draw: st.DrawFn, *, swept: bool = False) -> Account:
    """An account that has lived; `swept`: someone has read it meanwhile."""
    account = Account(ticks_a_second=draw(st.sampled_from([1, 1, 1, 1000])))
    account.way = lambda fields: _pick(draw, odd.WAYS)(fields, draw(_SIZE))
    themes = draw(st.sets(st.sampled_from(range(len(_THEMES))), min_size=1))
    acts = [_upload, *([_sweep] if swept else []), *(act for theme in sorted(themes) for act in _THEMES[theme])]
    _upload(account, draw)
    for act in draw(st.lists(st.sampled_from(acts), max_size=15)):
        account.pass_time(draw(_GAPS))
        if act not in _ON_ANYTHING and not account.live():
            _upload(account, draw)
        else:
            act(account, draw)
    account.pass_time(timedelta(seconds=1))
    return account
