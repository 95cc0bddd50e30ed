"""Which handler gives a notification type its meaning: the list of all that Cloudinary is known to send."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

from handlers import access, deletion, derivation, folders, labels, moderation, move, reading, refetch, rename, upload
from schemas.folder import Statement
from schemas.notification import Notification

Handler: TypeAlias = Callable[[Notification], Iterable[Statement]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        # an asset and its name
        "upload": upload.stored,
        "delete": deletion.deleted,
        "delete_by_token": deletion.deleted_by_token,
        "rename": rename.renamed,
        # where it lies
        "move": move.moved,
        "create_folder": folders.created,
        "delete_folder": folders.deleted,
        "move_or_rename_asset_folder": folders.moved,
        # what is attached to it
        "resource_display_name_changed": labels.display_name_changed,
        "resource_tags_changed": labels.tags_changed,
        "resource_context_changed": labels.context_changed,
        "resource_metadata_changed": labels.metadata_changed,
        "access_control_changed": access.access_changed,
        # what jobs have found or made
        "moderation": moderation.judged,
        "moderation_summary": refetch.asked,
        "eager": derivation.derived,
        "explode": derivation.exploded,
        "info": refetch.asked,
        "generate_archive": refetch.asked,
        # what does not tell what it changed
        "restore_asset_version": refetch.asked,
        "publish": refetch.asked,
        "related_assets": refetch.asked,
        "bulk_refresh_auto_fetch": refetch.asked,
        # ours
        "snapshot": reading.snapshot,
        "missing": reading.missing,
    }
)

# Types that change no asset, and why.
WITHOUT_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "error": "an operation failed, and changed nothing",
        "invalidate_custom_cdn": "about the CDN",
        "multi": "makes an animation that is no asset of the library",
        "proof_status_changed": "about an approval",
        "report": "about the account",
        "sprite": "makes a sprite that is no asset of the library",
    }
)


def interpret(notification: Notification) -> Iterator[Statement]:
    """Translate a notification into statements, made as they are taken: a body may name hundreds of thousands of assets.

    There are none for types without meaning and for bodies that name no asset or folder. An unknown type may mean anything, so
    the account is asked.
    """
    if notification.type in WITHOUT_MEANING:
        return iter(())
    return iter(HANDLERS.get(notification.type, refetch.asked)(notification))


def silence_of(notification: Notification) -> str:
    """Say why a notification has no meaning."""
    return WITHOUT_MEANING.get(notification.type, "names nothing that it says something about")
