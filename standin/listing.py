"""Listings of assets, page by page.

A cursor names the last row of its page by what the listing is sorted by, and is no snapshot: what is renamed between two pages
may be missed, or be seen twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standin.asset import Asset, Name
from standin.errors import BadRequestError
from standin.ledger import Ledger

MOST = 500  # on a page
AT_ONCE = 100  # names in one call, or ids to delete

# What was deleted and has a backup is listed, unless its name is taken again.
_VISIBLE = """(alive OR NOT EXISTS (
    SELECT 1 FROM assets AS other
    WHERE (other.resource_type, other.type, other.public_id) = (assets.resource_type, assets.type, assets.public_id)
    AND (other.alive OR other.seq > assets.seq)))"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which page of a listing is wanted, and what it is to say of each asset: see `Asset.listed`."""

    max_results: int = 10
    next_cursor: str | None = None
    direction: str | int | None = None
    start_at: str | None = None
    shown: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()


@dataclass
class _Filter:
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: object) -> None:
        self.conditions.append(condition)
        self.values += values


class Listings(Ledger):
    """Every way of listing assets but Search."""

    def list_assets(
        self,
        page: Page,
        *,
        resource_type: str | None = None,
        type: str | None = None,
        prefix: str | None = None,
        asset_folder: str | None = None,
        tag: str | None = None,
        context: tuple[str, str | None] | None = None,
        moderation: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """Give `{"resources": […], "next_cursor"}`, by creation, or by public id (see `Dialect.newest_first`).

        Only listings by type and prefix show deleted assets that have a backup. Raises `BadRequestError`.
        """
        chosen = _Filter()
        plain = (asset_folder, tag, context, moderation) == (None, None, None, None)
        chosen.add(_VISIBLE if plain else "alive")
        if resource_type is not None:
            chosen.add("resource_type = ?", resource_type)
        if type is not None:
            chosen.add("type = ?", type)
        if prefix is not None:
            chosen.add("public_id >= ? AND public_id < ? || char(1114111)", prefix, prefix)
        if asset_folder is not None:
            chosen.add("asset_folder = ?", asset_folder)
        if tag is not None:
            chosen.add("seq IN (SELECT seq FROM asset_tags WHERE tag = ?)", tag)
        if context is not None:
            key, value = context
            pairs = "EXISTS (SELECT 1 FROM json_each(data, '$.context') WHERE key = ? AND coalesce(value = ?, TRUE))"
            chosen.add(pairs, key, value)
        if moderation is not None:
            verdicts = (
                "EXISTS (SELECT 1 FROM json_each(data, '$.moderation') WHERE value ->> 'kind' = ? AND value ->> 'status' = ?)"
            )
            chosen.add(verdicts, *moderation)
        return self._page(chosen, page, has_prefix=bool(prefix))

    def by_names(self, names: Sequence[Name], page: Page) -> dict[str, Any]:
        """Give those that exist, as a plain listing shows them."""
        self._require_few(names, AT_ONCE)
        found = (self.find(name) or self.find_deleted(name) for name in dict.fromkeys(names))
        return self._shown([asset for asset in found if asset is not None], page)

    def by_asset_ids(self, asset_ids: Sequence[str], page: Page) -> dict[str, Any]:
        """Give those that are alive."""
        self._require_few(asset_ids, self.options.dialect.most_ids)
        found = (self.find_by_id(asset_id) for asset_id in dict.fromkeys(asset_ids))
        return self._shown([asset for asset in found if asset is not None and asset.alive], page)

    def chosen_for_deletion(
        self,
        resource_type: str,
        type: str | None = None,
        *,
        prefix: str = "",
        tag: str | None = None,
        most: int = 1000,
    ) -> list[Asset]:
        """Give the living assets of a type below a prefix, or with a tag; at most so many."""
        chosen = _Filter()
        chosen.add("alive AND resource_type = ? AND type = coalesce(?, type)", resource_type, type)
        chosen.add("public_id >= ? AND public_id < ? || char(1114111)", prefix, prefix)
        if tag is not None:
            chosen.add("seq IN (SELECT seq FROM asset_tags WHERE tag = ?)", tag)
        return self._select(chosen, "ORDER BY public_id, seq LIMIT ?", most)

    def _page(self, chosen: _Filter, page: Page, *, has_prefix: bool) -> dict[str, Any]:
        is_asked_for = page.direction is not None or page.start_at is not None
        by_creation = is_asked_for or (self.options.dialect.newest_first and not has_prefix)
        column = "created_at" if by_creation else "public_id"
        ascending = not by_creation or str(page.direction).lower() in ("asc", "1")
        if page.start_at is not None:
            chosen.add("created_at >= ?" if ascending else "created_at <= ?", _seconds(page.start_at))
        if page.next_cursor:
            chosen.add(f"({column}, seq) {'>' if ascending else '<'} (?, ?)", *self._place(page.next_cursor))
        size = min(max(page.max_results, 1), MOST)
        way = "ASC" if ascending else "DESC"
        assets = self._select(chosen, f"ORDER BY {column} {way}, seq {way} LIMIT ?", size + 1)
        answer = self._shown(assets[:size], page)
        if len(assets) > size:
            answer["next_cursor"] = self._cursor(getattr(assets[size - 1], column), assets[size - 1].seq)
        return answer

    def _select(self, chosen: _Filter, order: str, *values: object) -> list[Asset]:
        statement = f"SELECT * FROM assets WHERE {' AND '.join(chosen.conditions)} {order}"  # noqa: S608
        rows = self.store.connection.execute(statement, (*chosen.values, *values))
        return [Asset.from_row(row) for row in rows]

    def _shown(self, assets: Sequence[Asset], page: Page) -> dict[str, Any]:
        dialect = self.options.dialect
        return {"resources": [asset.listed(self.cloud, dialect, shown=page.shown, only=page.only) for asset in assets]}

    def _require_few(self, ids: Sequence[object], most: int) -> None:
        if len(ids) > most:
            raise BadRequestError(f"Too many ids: {len(ids)}. The maximum is {most}")


def _seconds(text: str) -> int:
    """Read a time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(f"Invalid start_at {text}") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
