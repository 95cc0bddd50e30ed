"""One asset, as the log may speak of it."""

import re
from dataclasses import dataclass, replace

from schemas.asset import AssetName, Group
from schemas.folder import FolderEvent, Statement
from service.database import Pool, reachable
from service.errors import MediamirrorError
from service.settings import Settings
from service.sql import query

_ID = re.compile(r"[0-9a-f]{32}")
# What stands in JSON and in URLs as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_.\-]+")


class CloudNotConfiguredError(MediamirrorError):
    """The cloud {cloud} isn't configured; configured: {known}."""

    exit_code = 2


class NoSuchAssetError(MediamirrorError):
    """The mirror knows no asset {asset}. One that it has lost goes by its asset id, 32 hex digits."""

    exit_code = 2


class AmbiguousAssetError(MediamirrorError):
    """Several assets are called {asset}; say which by its asset id, and its cloud with --cloud: {known}."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """An asset, with the names that bodies without its id may mean it by."""

    cloud: str | None  # None: unknown
    asset_id: str
    names: frozenset[AssetName] = frozenset()

    def needles(self) -> list[bytes]:
        """Give bytes of which every body about the asset holds some."""
        texts = [name.public_id for name in self.names]
        if _ID.fullmatch(self.asset_id):
            texts.append(self.asset_id)
        return [max(_PLAIN.findall(text), key=len, default="").encode() for text in texts]

    def is_meant(self, cloud: str, statement: Statement) -> bool:
        """Tell whether a statement is about the asset: it has its id, or no id and one of its names."""
        if isinstance(statement, FolderEvent) or self.cloud not in (None, cloud):
            return False
        return statement.asset_id == self.asset_id or (statement.asset_id is None and statement.name in self.names)

    def is_rivalled(self, cloud: str, statement: Statement) -> bool:
        """Tell whether a statement gives one of the asset's names to another."""
        if isinstance(statement, FolderEvent) or self.cloud not in (None, cloud):
            return False
        return statement.asset_id is not None and bool(self.names & _names_in(statement))

    def learned(self, cloud: str, statement: Statement) -> "Subject":
        """Give the asset with the names that a statement about it tells."""
        if isinstance(statement, FolderEvent) or statement.asset_id != self.asset_id or self.cloud not in (None, cloud):
            return self
        names = self.names | _names_in(statement)
        return self if names == self.names else replace(self, names=names)


def _names_in(statement: Statement) -> frozenset[AssetName]:
    if isinstance(statement, FolderEvent):
        return frozenset()
    names = {statement.name} if statement.name else set()
    if (told := statement.wholes.get(Group.NAME)) and all(told.get(part) for part in AssetName._fields):
        names.add(AssetName(*(str(told[part]) for part in AssetName._fields)))
    return frozenset(names)


def require_cloud(settings: Settings, cloud: str | None) -> None:
    """Raise `CloudNotConfiguredError` for a cloud that isn't."""
    if cloud is not None and cloud not in settings.clouds:
        raise CloudNotConfiguredError(cloud=cloud, known=", ".join(settings.clouds) or "none")


async def find_subjects(pool: Pool, text: str, cloud: str | None) -> list[Subject]:
    """Give the assets called `text`, an asset id or a public id of now, live ones first; raises `NoSuchAssetError`."""
    with reachable():
        rows = await pool.fetch(query("subject", "called"), text, cloud)
    subjects = [Subject(row["cloud"], row["asset_id"], _names_of(dict(row))) for row in rows]
    if not subjects and not _ID.fullmatch(text):
        raise NoSuchAssetError(asset=text)
    return subjects or [Subject(cloud, text)]


async def find_subject(pool: Pool, text: str, cloud: str | None) -> Subject:
    """Give the one asset called `text`; raises `NoSuchAssetError` or `AmbiguousAssetError`."""
    subjects = await find_subjects(pool, text, cloud)
    if len(subjects) > 1:
        known = ", ".join(f"{one.asset_id} of {one.cloud}" for one in subjects)
        raise AmbiguousAssetError(asset=text, known=known)
    return subjects[0]


def _names_of(row: dict[str, str | None]) -> frozenset[AssetName]:
    resource_type, kind, public_id = row["resource_type"], row["type"], row["public_id"]
    if resource_type is None or kind is None or public_id is None:
        return frozenset()
    return frozenset({AssetName(resource_type, kind, public_id)})
