"""An event's id stands for one content, and an asset's revisions have no gap, whatever is named, adopted, deleted or returns."""

from collections import Counter, defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.asset import AssetKey
from tests.bodies import CLOUD, delete, rename, triggered, upload
from tests.folding import MemoryMirror
from tests.property.test_order import HISTORIES, NAMES, ONE, TAGS, TIMES, Body, snapshot


def anonymous(told: Any) -> Any:
    """The same, of whatever is called so: without an asset id, and with few names."""
    if isinstance(told, dict):
        return {anonymous(name): anonymous(value) for name, value in told.items() if name != "asset_id"}
    if isinstance(told, list):
        return [anonymous(one) for one in told]
    return "left" if isinstance(told, str) and told.startswith(("name-of-", "name of ")) else told


def tagged(resources: list[dict[str, Any]], at: int) -> Body:
    return {"notification_type": "resource_tags_changed", "resources": resources} | triggered(at)


# One body may say of a name that it is of nobody known, of one asset, and of another.
IDENTITIES = st.fixed_dictionaries(
    {"public_id": NAMES, "resource_type": st.just("image"), "type": st.just("upload"), "added": TAGS},
    optional={"asset_id": ONE},
)
NAMED = st.one_of(
    st.builds(tagged, st.lists(IDENTITIES, min_size=1, max_size=4), TIMES),
    st.builds(upload, ONE, at=TIMES, public_id=NAMES).flatmap(lambda body: st.sampled_from([body, anonymous(body)])),
    st.builds(snapshot, ONE, TIMES, public_id=NAMES),
    st.builds(lambda asset, at, name: delete(asset, at=at, public_id=name), ONE, TIMES, NAMES).map(anonymous),
    st.builds(lambda asset, at, name, to: rename(asset, at=at, to=to, from_public_id=name), ONE, TIMES, NAMES, NAMES).flatmap(
        lambda body: st.sampled_from([body, anonymous(body)])
    ),
)
BATCHES = st.lists(st.lists(NAMED, min_size=1, max_size=5), min_size=1, max_size=8)


def live(data: st.DataObject, batches: list[list[Body]]) -> MemoryMirror:
    """Batches, some of them twice, and rows that anybody deletes between them."""
    mirror = MemoryMirror()
    for number, batch in enumerate(batches):
        mirror.apply(batch)
        deletes = data.draw(st.booleans(), label="somebody deletes")
        if mirror.rows and deletes:
            mirror.delete_by_sql(data.draw(st.sampled_from(sorted(mirror.rows)), label="whom"))
        if data.draw(st.booleans(), label="some are applied again"):
            mirror.apply(batches[data.draw(st.integers(min_value=0, max_value=number), label="which")])
    return mirror


def check(mirror: MemoryMirror) -> None:
    ids = Counter(event.event_id for event in mirror.events)
    assert [event_id for event_id, times in ids.items() if times > 1] == []
    revisions: defaultdict[AssetKey, list[int]] = defaultdict(list)
    for event in mirror.events:
        if event.revision is not None:
            revisions[AssetKey(CLOUD, event.subject)].append(event.revision)
    for key, told in revisions.items():
        assert told == list(range(1, len(told) + 1)), key
        assert key not in mirror.rows or mirror.rows[key].revision == told[-1]
    assert mirror.rows.keys() <= revisions.keys()


@settings(max_examples=2000, deadline=None)
@given(data=st.data(), batches=BATCHES)
def test_no_event_id_is_used_twice_whoever_is_named_adopted_or_deleted(data: st.DataObject, batches: list[list[Body]]) -> None:
    check(live(data, batches))


@settings(max_examples=500, deadline=None)
@given(data=st.data(), histories=st.lists(HISTORIES, min_size=1, max_size=3))
def test_no_event_id_is_used_twice_whatever_happens(data: st.DataObject, histories: list[list[Body]]) -> None:
    somewhat = [[anonymous(body) if data.draw(st.booleans()) else body for body in batch] for batch in histories]
    check(live(data, somewhat))
