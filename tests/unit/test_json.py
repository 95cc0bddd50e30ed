"""Whatever is JSON can be held by PostgreSQL and by Kafka, and what had to become of it is told."""

from itertools import product
from typing import Any

import orjson
import pytest

from schemas.json import DEEPEST, NotAnObjectError, Storable, make_storable, members, parse_object

CUT, TEXT, REPLACED = "levels deep", "kept as text", "were replaced"


def read(inner: bytes) -> Storable:
    return make_storable(b'{"x": %b}' % inner)


def nested(levels: int, inner: bytes = b"") -> bytes:
    return b"[" * levels + inner + b"]" * levels


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def held(value: Any) -> bytes:
    """As deep as an event holds it: in `changed`, by column, before and after."""
    return orjson.dumps({"changed": {"details": {"to": value}}})


@pytest.mark.parametrize("levels", [DEEPEST - 1, DEEPEST, 253, 254, 255, 1023, 1024, 5000, 200_000])
def test_what_is_nested_too_deep_is_cut_where_it_can_be_held(levels: int) -> None:
    found = read(nested(levels, b"1"))
    assert held(found.value)
    assert depth(found.value) == min(levels + 1, DEEPEST)
    assert found.is_cut == (levels >= DEEPEST) == (CUT in "".join(found.changes))


def test_a_cut_leaves_what_stands_beside_it() -> None:
    found = make_storable(b'{"a": 1, "x": {"b": 2, "y": %b, "c": [3]}, "d": "]}"}' % nested(400))
    assert (found.value["a"], found.value["d"]) == (1, "]}")
    x = found.value["x"]
    assert isinstance(x, dict)
    assert (x["b"], x["c"]) == (2, [3])


def test_brackets_in_texts_are_no_levels() -> None:
    text = '["{\\"[' * 300
    assert make_storable(orjson.dumps({"x": text})) == Storable({"x": text}, orjson.dumps({"x": text}))


def test_many_members_are_no_levels() -> None:
    body = {"x": [{"y": []} for _ in range(2000)]}
    assert make_storable(orjson.dumps(body)).value == body


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (str(2**63), 2**63),
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), str(2**64)),
        (str(-(2**63)), -(2**63)),
        (str(-(2**63) - 1), str(-(2**63) - 1)),
        ("1" + "0" * 400, "1" + "0" * 400),
        ("7" * 5000, "7" * 5000),
        ("1e308", 1e308),
        ("1e400", "1e400"),
        ("-1E999", "-1E999"),
        ("0.1234567890123456789012345", 0.12345678901234568),
        ("-0", 0),
    ],
)
@pytest.mark.parametrize("shape", [b"%b", b"[ %b]", b"[%b]", b'{"a":%b}', b"[0,%b]", b'["\\ud800", %b]'])
def test_a_number_that_64_bits_cannot_hold_becomes_its_digits(number: str, kept: Any, shape: bytes) -> None:
    found = read(shape % number.encode())
    assert held(found.value)
    value: Any = found.value["x"]
    while isinstance(value, (list, dict)):
        value = list(value.values() if isinstance(value, dict) else value)[-1]
    assert value == kept
    assert type(value) is type(kept)
    assert isinstance(kept, str) == (TEXT in "".join(found.changes))


def test_a_public_id_of_many_digits_stays_what_it_is() -> None:
    assert make_storable(b'{"public_id":12345678901234567890123}').value == {"public_id": "12345678901234567890123"}


ODD = {
    CUT: nested(600),
    TEXT: b"9" * 300,
    REPLACED: b'"\\u0000 \\ud800"',
}


@pytest.mark.parametrize("which", list(product([True, False], repeat=3)))
def test_all_of_it_may_come_together(which: tuple[bool, ...]) -> None:
    chosen = {told: raw for (told, raw), one in zip(ODD.items(), which, strict=True) if one}
    found = read(b"[" + b",".join([b'"\\ud83d\\ude00"', *chosen.values()]) + b"]")
    assert held(found.value).decode("utf-8")
    assert b"\\u0000" not in held(found.value)
    assert [told for told in ODD if told in "; ".join(found.changes)] == list(chosen)


def test_an_ordinary_body_is_as_it_was() -> None:
    raw = rb'{"a": ["\ud83d\ude00 \\u0000 \n"], "b": {"c": 1.5}, "n": 12345678901234567890, "id": "00000000000000000000000000000047"}'
    assert make_storable(raw) == Storable(orjson.loads(raw), raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"a":1}x', b'{"a":NaN}', b'{"a":-Infinity}', b"\xff", b'{"a":' + b"[" * 3000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(NotAnObjectError):
        make_storable(raw)
    with pytest.raises(NotAnObjectError):
        parse_object(raw)


def test_a_map_in_an_odd_body_is_read_member_by_member() -> None:
    raw = b'{"r":{"a":{"n":%b},"a":{"m":%b,"z":"\\ud800"}},"deep":%b}' % (b"8" * 5000, nested(900), nested(1200))
    (first, one), (second, other) = members(make_storable(raw).raw, "r")
    assert (first, one) == ("a", {"n": "8" * 5000})
    assert second == "a"
    assert held(other)
    assert isinstance(other, dict)
    assert other["z"] == "\ufffd"
