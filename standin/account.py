"""The account: everything that can be done with it, in one place.

The HTTP API calls these methods, and so may a test; each is one transaction, with the notification that tells of it.
"""

import secrets
from typing import Any

from standin.asset import Asset, Content
from standin.folders import Folders
from standin.labels import Labels
from standin.listing import Listings
from standin.naming import Naming
from standin.search import Search


class Account(Naming, Folders, Labels, Listings, Search):
    """The rooms of the account together."""

    def update(
        self,
        public_id: str,
        *,
        resource_type: str = "image",
        type: str = "upload",
        **changes: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Change what is attached to an asset, see `apply`; raises `NotFoundError`."""
        with self.store.transaction():
            asset = self.get(public_id, resource_type, type)
            self.apply(asset, **changes)
        return asset.uploaded(self.cloud)

    def apply(
        self,
        asset: Asset,
        *,
        tags: list[str] | None = None,
        context: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
        display_name: str | None = None,
        asset_folder: str | None = None,
        access_control: list[dict[str, Any]] | None = None,
        moderation_status: str | None = None,
        notification_url: str | None = None,
        batch_id: str | None = None,
    ) -> None:
        """Change what is given: tags, context and access control as a whole, metadata field by field.

        Each kind of change is told on its own; what changes nothing is not told.
        """
        told = {"notification_url": notification_url, "batch_id": batch_id}
        with self.store.transaction():
            if tags is not None:
                self.set_tags([(asset, tags)], **told)
            if context is not None:
                self.set_context([(asset, context)], **told)
            if metadata is not None:
                self.set_metadata([(asset, metadata)], **told)
            if display_name is not None:
                self.set_display_name(asset, display_name, **told)
            if asset_folder is not None:
                self.move([asset], asset_folder, **told)
            if access_control is not None:
                self.set_access(asset, access_control, **told)
            if moderation_status is not None:
                self.set_moderation(asset, moderation_status, **told)

    def resources(self) -> list[dict[str, Any]]:
        """Describe every asset that is alive, whole, as the Admin API does one; by public id."""
        rows = self.store.connection.execute("SELECT * FROM assets WHERE alive ORDER BY public_id, seq")
        return [Asset.from_row(row).full(self.cloud) for row in rows]

    def seed(self, count: int, prefix: str = "seed/") -> None:
        """Make that many images, of which nothing tells and whose bytes nobody stored."""
        now = self.now()
        folder = prefix.rstrip("/")
        rows = (
            Asset(
                asset_id=secrets.token_hex(16),
                resource_type="image",
                type="upload",
                public_id=f"{prefix}{number:07}",
                content=Content(
                    version=now,
                    version_id=secrets.token_hex(16),
                    etag=secrets.token_hex(16),
                    bytes=1000 + number,
                    format="png",
                    width=100,
                    height=50,
                ),
                created_at=now,
                uploaded_at=now,
                asset_folder=folder,
                display_name=f"{number:07}",
            ).to_row()
            for number in range(count)
        )
        with self.store.transaction() as connection:
            self.note_folder(folder)
            connection.executemany(
                "INSERT INTO assets (asset_id, resource_type, type, public_id, alive, created_at, uploaded_at, asset_folder,"
                " digest, data) VALUES (:asset_id, :resource_type, :type, :public_id, :alive, :created_at, :uploaded_at,"
                " :asset_folder, :digest, :data)",
                rows,
            )
