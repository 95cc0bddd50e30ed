"""Which handler gives a notification type its meaning."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from handlers import deletion, rename, upload
from schemas.change import Change
from schemas.notification import Notification

Handler: TypeAlias = Callable[[Notification], list[Change]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "upload": upload.handle,
        "delete": deletion.handle,
        "rename": rename.handle,
    }
)


def interpret(notification: Notification) -> list[Change]:
    """Translate a notification into changes; none for a type without a handler, or a body that names no asset."""
    handler = HANDLERS.get(notification.type)
    return handler(notification) if handler else []
