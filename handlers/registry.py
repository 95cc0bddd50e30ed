"""Which handler gives a notification type its meaning: the list of all that Cloudinary is known to send."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import TypeAlias

from handlers import access, deletion, derivation, folders, labels, moderation, move, reading, refetch, rename, upload
from handlers.failure import failure_of
from handlers.resources import joined
from schemas.asset import key_of_name
from schemas.bodies import Named, read
from schemas.change import Change
from schemas.folder import Statement
from schemas.notification import OURS, Notification

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


_ABOUT_FOLDERS = frozenset({"create_folder", "delete_folder", "move_or_rename_asset_folder"})
# What these say of failures is a result like any other, or tells of no asset.
_TELL_OF_FAILURES = frozenset({"eager", "moderation", "moderation_summary", "info", *_ABOUT_FOLDERS})


def interpret(notification: Notification) -> Iterator[Statement]:
    """Translate a notification into statements, made as they are taken: a body may name hundreds of thousands of assets.

    There are none for types without meaning and for bodies that name no asset or folder. An unknown type may mean anything, so
    the account is asked, and so it is about any asset that a body names without a handler's understanding what it says of it.
    """
    kind = notification.envelope.notification_type
    if kind in WITHOUT_MEANING:
        return iter(())
    if kind in OURS:
        return iter(() if notification.is_forged else HANDLERS[kind](notification))
    if kind not in _TELL_OF_FAILURES and (failure := failure_of(notification.body)):
        return refetch.asked_because(notification, failure)
    statements = HANDLERS.get(kind, refetch.asked)(notification)
    if isinstance(statements, list) and statements and not notification.is_cut:
        return iter(statements)
    return _with_questions(notification, statements)


def _with_questions(notification: Notification, statements: Iterable[Statement]) -> Iterator[Statement]:
    """Ask as well about what can't be read in full, and about what nothing was understood of."""
    is_understood = False
    for statement in statements:
        is_understood = True
        if notification.is_cut and isinstance(statement, Change):
            yield statement._replace(refetch=joined((statement.refetch, "the notification is too deep to be read in full")))
        else:
            yield statement
    if not is_understood:
        yield from refetch.asked_because(notification, f"{notification.type} says nothing of it that is understood")


def silence_of(notification: Notification) -> str:
    """Say why a notification has no meaning."""
    if reason := WITHOUT_MEANING.get(notification.type):
        return reason
    if notification.is_forged:
        return f"{notification.type} is what only our own readings say; this came from outside"
    if notification.type in _ABOUT_FOLDERS:
        return folders.why_nothing(notification)
    odd = read(Named, notification.body).odd
    return "names no asset" + (f": {odd}" if odd else "")


def subject_of(notification: Notification) -> str | None:
    """Give the id of the asset that a notification without meaning is about, or of the first, if it names one."""
    for item in (notification.body, *islice(notification.resources(), 1)):
        body = read(Named, item)
        if body.asset_id is not None:
            return body.asset_id
        if (name := body.likely_name) is not None:
            return key_of_name(notification.envelope.cloud, name).asset_id
    return None
