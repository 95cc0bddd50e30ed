"""Folders, and which assets lie in them."""

from typing import Any

from standin.asset import Asset
from standin.contents import Contents
from standin.errors import AlreadyExistsError, BadRequestError, NotFoundError

# What is at or below a folder: `/` is followed by `0`, so all that begins with the folder and a slash lies between.
_INSIDE = "({0} = :path OR ({0} > :path || '/' AND {0} < :path || '0'))"


class Folders(Contents):
    """Moves of assets, and of folders with all that is in them. Paths have no slash at either end."""

    def move(self, assets: list[Asset], folder: str, **told: str | None) -> None:
        """Put assets into a folder, which is made if need be."""
        moved = {}
        with self.store.transaction():
            self.note_folder(folder)
            for asset in assets:
                if asset.asset_folder == folder:
                    continue
                moved[asset.public_id] = {
                    "asset_id": asset.asset_id,
                    "resource_type": asset.resource_type,
                    "type": asset.type,
                    "from_asset_folder": asset.asset_folder,
                    "to_asset_folder": folder,
                    "display_name": asset.display_name,
                }
                asset.asset_folder = folder
                self.save(asset)
            if moved:
                self.tell("move", {"resources": moved}, **told)

    def create_folder(self, path: str) -> dict[str, Any]:
        """Make a folder and those above it; that it exists is no error."""
        with self.store.transaction():
            if not self._exists(path):
                self.note_folder(path)
                self.tell("create_folder", _named(path))
        return {"success": True, **self._described(path)}

    def rename_folder(self, from_path: str, to_path: str) -> dict[str, Any]:
        """Move a folder; nothing is told of each asset. Raises `NotFoundError`, `AlreadyExistsError`, `BadRequestError`."""
        with self.store.transaction() as connection:
            self.require_folder(from_path)
            if self._exists(to_path):
                raise AlreadyExistsError(f"Folder {to_path} already exists")
            if f"{to_path}/".startswith(f"{from_path}/"):
                raise BadRequestError("A folder can't be moved into itself")
            self.note_folder(to_path.rpartition("/")[0])
            for table, column in (("folders", "path"), ("assets", "asset_folder")):
                connection.execute(
                    f"UPDATE {table} SET {column} = :goal || substr({column}, length(:path) + 1)"  # noqa: S608
                    f" WHERE {_INSIDE.format(column)}",
                    {"path": from_path, "goal": to_path},
                )
            self.tell("move_or_rename_asset_folder", {"from_path": from_path, "to_path": to_path, "status": "completed"})
            return {"from": {"name": _last(from_path), "path": from_path}, "to": {"name": _last(to_path), "path": to_path}}

    def delete_folder(self, path: str) -> dict[str, Any]:
        """Delete a folder and the empty ones below it. Raises `NotFoundError`, and `BadRequestError` when assets are in it."""
        with self.store.transaction() as connection:
            self.require_folder(path)
            inside = _INSIDE.format("asset_folder")
            held = connection.execute(f"SELECT 1 FROM assets WHERE {inside} AND alive LIMIT 1", {"path": path})  # noqa: S608
            if held.fetchone():
                raise BadRequestError("Folder is not empty")
            # Reading `RETURNING` to its end completes the statement.
            gone = connection.execute(
                f"DELETE FROM folders WHERE {_INSIDE.format('path')} RETURNING path",  # noqa: S608
                {"path": path},
            ).fetchall()
            self.tell("delete_folder", _named(path))
        return {"deleted": sorted(row["path"] for row in gone)}

    def folders(self, path: str = "") -> list[dict[str, Any]]:
        """Give the folders right below one, or the root ones; raises `NotFoundError`."""
        if path:
            self.require_folder(path)
        rows = self.store.connection.execute("SELECT path FROM folders ORDER BY path")
        return [self._described(row["path"]) for row in rows if row["path"].rpartition("/")[0] == path]

    def all_folders(self) -> list[dict[str, Any]]:
        """Give every folder."""
        return [self._described(row["path"]) for row in self.store.connection.execute("SELECT path FROM folders ORDER BY path")]

    def require_folder(self, path: str) -> None:
        """Raise `NotFoundError` if there is no such folder."""
        if not self._exists(path):
            raise NotFoundError(f"Can't find folder with path {path}")

    def _exists(self, path: str) -> bool:
        return self.store.connection.execute("SELECT 1 FROM folders WHERE path = ?", (path,)).fetchone() is not None

    def _described(self, path: str) -> dict[str, Any]:
        row = self.store.connection.execute("SELECT external_id FROM folders WHERE path = ?", (path,)).fetchone()
        return {"name": _last(path), "path": path, "external_id": row["external_id"]}


def _named(path: str) -> dict[str, Any]:
    return {"source": "api", "folder_path": path, "folder_name": _last(path)}


def _last(path: str) -> str:
    return path.rpartition("/")[2]
