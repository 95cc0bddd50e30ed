"""What can be read in the bytes of a body that is not one JSON object: which assets it is about, so that they can be asked about.

Nothing is taken for true that is read here. The work is in proportion to the bytes.
"""

import json
import re
from typing import Final, NamedTuple

from schemas.asset import AssetName
from schemas.bodies import Named, read
from schemas.json import JSONObject

_MOST_ASSETS: Final = 1_000
_ASSET_ID: Final = re.compile(rb'"asset_id"\s*:\s*"([0-9a-f]{32})"')
_TYPE: Final = re.compile(rb'"notification_type"\s*:\s*"([0-9A-Za-z_]{1,100})"')
_NAMING: Final = re.compile(rb'"(public_id|resource_type|type|secure_url|url)"\s*:\s*("(?:[^"\\]|\\.){1,2000}"|)', re.DOTALL)


class Salvaged(NamedTuple):
    """What a body seems to be about."""

    notification_type: str = ""
    asset_ids: tuple[str, ...] = ()  # each once, in their order; the first thousand
    name: AssetName | None = None  # of the only asset named, when no id can be read


def salvage(raw: bytes) -> Salvaged:
    """Look for names in bytes that can't be read as a whole: cut short, wrongly encoded, two objects for one."""
    text = _in_utf8(raw)
    kind = _TYPE.search(text)
    ids: dict[str, None] = {}
    for found in _ASSET_ID.finditer(text):
        ids[found[1].decode()] = None
        if len(ids) == _MOST_ASSETS:
            break
    return Salvaged(kind[1].decode() if kind else "", tuple(ids), None if ids else _only_name(text))


def _in_utf8(raw: bytes) -> bytes:
    encoding = json.detect_encoding(raw)
    return raw if encoding.startswith("utf-8") else raw.decode(encoding, "replace").encode(errors="replace")


def _only_name(text: bytes) -> AssetName | None:
    """Give the name of the asset, if the body tells of one alone, in so many words."""
    told: dict[str, bytes] = {}
    for found in _NAMING.finditer(text):
        field, value = found[1].decode(), found[2]
        if told.setdefault(field, value) != value:
            return None
    try:
        body: JSONObject = {field: json.loads(value.decode()) for field, value in told.items()}
    except ValueError:
        return None
    return read(Named, body).name
