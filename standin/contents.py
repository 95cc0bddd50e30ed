"""Files come, are replaced, go, and come back."""

import hashlib
import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from standin.asset import Asset, Content, Name
from standin.dialect import SOCIAL
from standin.errors import BadRequestError, NotFoundError
from standin.fields import MetadataFields
from standin.files import FileKind, kind_of

_ID_LETTERS = string.ascii_lowercase + string.digits
_DELIVERY_TYPES = frozenset({"upload", "private", "authenticated", "fetch", "list"}) | SOCIAL


class Contents(MetadataFields):
    """Uploads, deletions, restorations."""

    def upload(
        self,
        file: bytes | None = None,
        *,
        public_id: str | None = None,
        resource_type: str = "image",
        type: str = "upload",
        overwrite: bool = True,
        tags: Sequence[str] | None = None,
        context: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        access_control: list[dict[str, Any]] | None = None,
        asset_folder: str | None = None,
        display_name: str | None = None,
        moderation: str | None = None,
        original_filename: str | None = None,
        backup: bool = False,
        notification_url: str | None = None,
        batch_id: str | None = None,
    ) -> dict[str, Any]:
        """Store a file, over the one of that name if there is one; see `Dialect` for what becomes of its labels, and its id.

        Without a file, some content of which only the description exists. Raises `BadRequestError` for what is no such file.
        """
        if type not in _DELIVERY_TYPES:
            raise BadRequestError(f"Invalid type {type}")
        kind = _kind(file, resource_type)
        name = Name(kind.resource_type, type, public_id or self._generated_id(kind, original_filename))
        told = {"notification_url": notification_url, "batch_id": batch_id}
        with self.store.transaction():
            values = self.read_metadata(metadata or {})
            asset = self.find(name)
            if asset is None and self.options.dialect.revives_placeholders:
                asset = self.find_deleted(name)
            call = {"timestamp": self.timestamp(), "request_id": self.fresh_id()}
            if asset is not None and asset.alive and not overwrite:
                answer = asset.uploaded(self.cloud) | {"existing": True}
                self.tell("upload", call | answer | {"api_key": self.options.key}, **told)
                return answer
            said: dict[str, Any] = {} if asset is None else {"overwritten": True}
            content = self._stored(file, kind, asset, original_filename)
            if asset is None:
                shown = name.public_id.rsplit("/", 1)[-1]
                asset = Asset(
                    asset_id=self.fresh_id(),
                    **name._asdict(),
                    content=content,
                    created_at=self.now(),
                    uploaded_at=self.now(),
                    display_name=shown,
                )
            else:
                self._replace(asset, content, backup=backup)
            if said and not self.options.dialect.overwriting_keeps_labels:
                asset.tags, asset.context, asset.metadata, asset.access_control = [], {}, {}, None
            asset.tags = list(dict.fromkeys(tags)) if tags is not None else asset.tags
            asset.context = dict(context) if context is not None else asset.context
            asset.metadata = asset.metadata | values
            asset.access_control = access_control if access_control is not None else asset.access_control
            asset.asset_folder = asset_folder if asset_folder is not None else asset.asset_folder
            asset.display_name = display_name if display_name is not None else asset.display_name
            if moderation:
                asset.moderation = [{"status": "pending", "kind": kind} for kind in moderation.split("|")]
            self.note_folder(asset.asset_folder)
            self.save(asset)
            answer = asset.uploaded(self.cloud) | said
            self.tell("upload", call | answer | {"api_key": self.options.key}, **told)
        return answer

    def note_folder(self, path: str) -> None:
        """Make the folders of a path that don't exist; nothing tells of them."""
        parts = path.split("/") if path else []
        rows = (("/".join(parts[:depth]), self.fresh_id(), self.now()) for depth in range(1, len(parts) + 1))
        statement = "INSERT OR IGNORE INTO folders (path, external_id, created_at) VALUES (?, ?, ?)"
        self.store.connection.executemany(statement, rows)

    def _generated_id(self, kind: FileKind, original_filename: str | None) -> str:
        generated = "".join(secrets.choice(_ID_LETTERS) for _ in range(20))
        # a raw file's extension is part of its public id
        extension = (original_filename or "").rpartition(".")[2] if kind.resource_type == "raw" else ""
        return f"{generated}.{extension}" if extension and extension != original_filename else generated

    def _stored(self, file: bytes | None, kind: FileKind, before: Asset | None, original_filename: str | None) -> Content:
        digest = None
        if file is not None:
            digest = hashlib.sha256(file).hexdigest()
            self.keep(digest, file)
        return Content(
            version=self.next_version(before),
            version_id=self.fresh_id(),
            etag=self.fresh_id() if file is None else hashlib.md5(file, usedforsecurity=False).hexdigest(),
            bytes=1000 if file is None else len(file),
            format=kind.format,
            width=kind.width,
            height=kind.height,
            pages=kind.pages,
            duration=1.5 if kind.resource_type == "video" else None,
            original_filename=PurePosixPath(original_filename).stem if original_filename else None,
            digest=digest,
        )

    def _replace(self, asset: Asset, content: Content, *, backup: bool) -> None:
        before = asset.content
        if (backup or self.options.backup) and not before.placeholder:
            self.back_up(asset)
        asset.content, asset.alive = content, True
        self.save(asset)
        self.forget([before.digest])

    # Deletions

    def destroy(
        self,
        public_id: str,
        *,
        resource_type: str = "image",
        type: str = "upload",
        notification_url: str | None = None,
        batch_id: str | None = None,
    ) -> dict[str, Any]:
        """Delete one asset; that there is none is no error."""
        with self.store.transaction():
            asset = self.find(Name(resource_type, type, public_id))
            if asset is None:
                return {"result": "not found"}
            self.delete([asset], notification_url=notification_url, batch_id=batch_id)
        return {"result": "ok"}

    def delete(
        self,
        assets: Sequence[Asset],
        *,
        notification_url: str | None = None,
        batch_id: str | None = None,
        is_told: bool = True,
    ) -> None:
        """Delete assets, and tell of all in one body; with a backup they stay, as empty placeholders."""
        with self.store.transaction():
            for asset in assets:
                if self.options.backup or self.backups(asset):
                    if not asset.content.placeholder:
                        self.back_up(asset)
                    asset.content = asset.content.emptied()
                    asset.alive = False
                    self.save(asset)
                else:
                    self.erase(asset)
            if assets and is_told:
                resources = [_as_deleted(asset) for asset in assets]
                self.tell("delete", {"resources": resources}, notification_url=notification_url, batch_id=batch_id)

    # Restorations

    def restore(self, asset: Asset, version_id: str | None = None) -> dict[str, Any]:
        """Bring back what was deleted, as it was, or an earlier file of a living asset, as a new version.

        Raises `NotFoundError` when there is no such backup, `BadRequestError` when the name is another's by now.
        """
        with self.store.transaction():
            backups = [one for one in self.backups(asset) if version_id in (None, one.version_id)]
            if not backups:
                raise NotFoundError("no_backup")
            if not asset.alive and self.find(asset.name) is not None:
                raise BadRequestError("The public ID is in use")
            chosen = backups[-1]
            if asset.alive:
                again = replace(chosen, version=self.next_version(asset), version_id=self.fresh_id())
                self._replace(asset, again, backup=True)
            else:
                asset.alive = True
                asset.content = chosen
                self.save(asset)
            self.tell("restore_asset_version", asset.identity)
            return asset.uploaded(self.cloud)

    def restore_all(self, assets: Iterable[tuple[str, Asset | None]], versions: Sequence[str] = ()) -> dict[str, Any]:
        """Restore each of the assets, given with how the caller called them; answers for each."""
        answer: dict[str, Any] = {}
        with self.store.transaction():
            for number, (called, asset) in enumerate(assets):
                if asset is None:
                    answer[called] = {"error": "no_backup"}
                    continue
                try:
                    answer[called] = self.restore(asset, versions[number] if number < len(versions) else None)
                except (NotFoundError, BadRequestError) as error:
                    answer[called] = {"error": error.message}
        return answer


def _kind(file: bytes | None, resource_type: str) -> FileKind:
    if file is None:
        if resource_type == "raw":
            return FileKind("raw")
        return FileKind("video", "mp4", 640, 360) if resource_type == "video" else FileKind("image", "png", 100, 50)
    found = kind_of(file)
    if resource_type in ("auto", found.resource_type):
        return found
    if resource_type == "raw":
        return FileKind("raw")
    if resource_type == "video":
        return FileKind("video", "mp4", 640, 360)
    raise BadRequestError("Invalid image file" if resource_type == "image" else f"Invalid resource_type {resource_type}")


def _as_deleted(asset: Asset) -> dict[str, Any]:
    return {
        **asset.identity,
        "version": asset.content.version,
        "asset_folder": asset.asset_folder,
        "display_name": asset.display_name,
    }
