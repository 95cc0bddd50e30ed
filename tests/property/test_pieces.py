"""What a notification says of one asset may be joined before it is merged: the row is the same."""

from hypothesis import given
from hypothesis import strategies as st

from handlers.merge import merge
from handlers.pieces import in_pieces, joined
from schemas.asset import Asset, AssetKey, AssetName, Group
from schemas.change import GONE, Change
from schemas.clock import Rank, clock_of, content_clock_of
from tests.bodies import ASSET, BEGINNING, CLOUD, SIGNED_AT

KEY = AssetKey(CLOUD, ASSET)
TAGS = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([True, GONE]))
PLAIN = st.dictionaries(st.sampled_from("kl"), st.sampled_from("vw"))
FIELDS = st.dictionaries(st.sampled_from("kl"), st.sampled_from(["v", "w", GONE]))
BYTES = st.dictionaries(st.just("bytes"), st.integers(1, 2))
VERSION = int(BEGINNING.timestamp())
NAME = st.sampled_from([None, AssetName("image", "upload", "n")])


@st.composite
def changes(draw: st.DrawFn, digest: str = "d" * 64) -> Change:
    wholes: dict[Group, dict[str, object]] = {}
    parts: dict[Group, dict[str, object]] = {}
    for group, whole, part in (
        (Group.TAGS, st.dictionaries(st.sampled_from("xyz"), st.just(value=True)), TAGS),
        (Group.CONTEXT, PLAIN, FIELDS),
    ):
        if draw(st.booleans()):
            wholes[group] = dict(draw(whole))
        if draw(st.booleans()):
            parts[group] = dict(draw(part))
    if draw(st.booleans()):
        wholes[draw(st.sampled_from([Group.ALIVE, Group.DELETED]))] = {}
    if draw(st.booleans()):
        # as in readings, the only ones that tell of the content of several assets
        parts[Group.CONTENT] = {"version": VERSION, **draw(BYTES)}
        parts[Group.DETAILS] = dict(draw(PLAIN))
    clock = clock_of(BEGINNING, Rank.EVENT, digest)
    content_clock = content_clock_of(VERSION, clock, SIGNED_AT)
    return Change(ASSET, draw(NAME), clock, wholes, parts, content_clock)


def after(before: Asset | None, told: list[Change]) -> Asset | None:
    for change in told:
        before = merge(before, KEY, change).asset
    return before and before._replace(revision=0)


@given(st.lists(changes(digest="b" * 64), max_size=3), st.lists(changes(), min_size=1, max_size=6))
def test_joined_or_one_by_one_the_row_is_the_same(past: list[Change], told: list[Change]) -> None:
    before = after(None, past)
    together = [statement for statement in joined(told) if isinstance(statement, Change)]
    assert after(before, together) == after(before, told)


@given(st.lists(changes(), min_size=1, max_size=8), st.integers(1, 3), st.integers(1, 10))
def test_in_pieces_or_whole_the_row_is_the_same(told: list[Change], most: int, heaviest: int) -> None:
    pieces = list(in_pieces(told, most=most, heaviest=heaviest))
    assert [piece.place for piece in pieces] == [sum(len(one.statements) for one in pieces[:at]) for at in range(len(pieces))]
    cut = [statement for piece in pieces for statement in piece.statements if isinstance(statement, Change)]
    assert after(None, cut) == after(None, told)
