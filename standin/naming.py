"""Assets get other names."""

from typing import Any

from standin.asset import Asset, Name
from standin.contents import Contents
from standin.errors import BadRequestError


class Naming(Contents):
    """Renames and publications."""

    def rename(
        self,
        from_public_id: str,
        to_public_id: str,
        *,
        resource_type: str = "image",
        type: str = "upload",
        to_type: str | None = None,
        overwrite: bool = False,
        notification_url: str | None = None,
        batch_id: str | None = None,
    ) -> dict[str, Any]:
        """Rename an asset, to another delivery type too. What has that name is in the way, or is deleted first.

        Raises `NotFoundError`, and `BadRequestError` when the name is taken.
        """
        told = {"notification_url": notification_url, "batch_id": batch_id}
        with self.store.transaction():
            asset = self.get(from_public_id, resource_type, type)
            goal = Name(resource_type, to_type or type, to_public_id)
            victim = self.find(goal)
            if victim is not None:
                if not overwrite or victim.seq == asset.seq:
                    raise BadRequestError(f"to_public_id {to_public_id} already exists")
                self.delete([victim], **told, is_told=self.options.dialect.tells_of_victims)
            self._name(asset, goal)
            said = {
                "timestamp": self.timestamp(),
                "request_id": self.fresh_id(),
                "resource_type": resource_type,
                "type": type,
                "asset_id": asset.asset_id,
                "asset_folder": asset.asset_folder,
                "display_name": asset.display_name,
                "from_public_id": from_public_id,
                "to_public_id": to_public_id,
            }
            self.tell("rename", said | ({"to_type": goal.type} if goal.type != type else {}), **told)
            return asset.uploaded(self.cloud)

    def publish(self, asset: Asset) -> dict[str, Any]:
        """Make its delivery type `upload`; the body says only which asset. Raises `BadRequestError` when the name is taken."""
        with self.store.transaction():
            goal = asset.name._replace(type="upload")
            if self.find(goal) is not None:
                raise BadRequestError(f"{asset.public_id} already exists")
            told_of = asset.identity
            self._name(asset, goal)
            self.tell("publish", told_of)
            return asset.uploaded(self.cloud)

    def _name(self, asset: Asset, name: Name) -> None:
        asset.type, asset.public_id = name.type, name.public_id
        self.save(asset)
