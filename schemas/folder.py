"""Folders of an account, which Cloudinary knows by path alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from schemas.change import Change
from schemas.clock import Clock


class FolderAct(StrEnum):
    """What can happen to a folder."""

    CREATED = "created"
    DELETED = "deleted"
    MOVED = "moved"  # renamed too


@dataclass(frozen=True, slots=True)
class FolderEvent:
    """Something that happened to a folder; a set of these, read in clock order, is all there is to know."""

    act: FolderAct
    path: str
    clock: Clock
    to_path: str | None = None  # of a move

    def moved(self, path: str) -> str:
        """Give where a path lies after this event, which moves what is at or below `self.path`."""
        if self.to_path is None or not (path == self.path or path.startswith(f"{self.path}/")):
            return path
        return self.to_path + path[len(self.path) :]


# What a notification asserts: about assets, or about folders.
Statement: TypeAlias = Change | FolderEvent
