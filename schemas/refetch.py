"""A question to the account, for when the notifications do not tell all."""

from typing import NamedTuple

from schemas.asset import AssetKey


class Refetch(NamedTuple):
    """Ask the account about an asset. Questions about one asset are one, with all their reasons."""

    key: AssetKey
    reason: str
