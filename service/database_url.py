"""The URL of a PostgreSQL: whether it is one, and what of it may be shown."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

FORM: Final = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

# No character that ends a part stands inside one, or else a piece of a password would be read as a host, a port or a database,
# and be told in somebody's error. Several hosts, or none beside ?host=, are libpq's ways.
_HOST: Final = r"(?:[^\s/?#@:,\[\]]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?"
_URL: Final = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://"
    r"(?:(?P<user>[^\s/?#@:\[\]]*)(?::[^\s/?#@\[\]]*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?P<database>/[^\s?#@]*)?"
    r"(?:\?(?P<query>[^\s#@]*))?"
)
_OPTION: Final = re.compile(r"[A-Za-z_][\w.]*")


def is_database_url(url: str) -> bool:
    """Tell whether every part of `url` can be told from the others."""
    match = _URL.fullmatch(url)
    if match is None:
        return False
    try:
        urlsplit(url)  # which refuses brackets and some letters that the form above lets through
        options = parse_qsl(match["query"] or "", keep_blank_values=True, strict_parsing=bool(match["query"]))
    except ValueError:
        return False
    return all(_OPTION.fullmatch(name) for name, _ in options)


def shown(url: str) -> str:
    """Give what of a URL may be shown: neither its password nor its options, among which there may be another one."""
    match = _URL.fullmatch(url)
    if match is None:
        return FORM
    user = f"{match['user']}@" if match["user"] else ""
    return f"{match['scheme']}://{user}{match['hosts']}{match['database'] or ''}"
