"""The folder in which everything embedded keeps its data."""

from pathlib import Path
from typing import Final

from service.embedded.private import make_private
from service.running import FILE

_PARTS: Final = frozenset({"kafka", "postgres", "standin", "logs"})
_FILES: Final = frozenset({"lock", FILE})


def claim_folder(folder: Path) -> None:
    """Make the folder, for its owner alone, as everything of ours in it is.

    One in which there is more than ours may have been made for others to enter, and stays as it is: its name was given by a
    person, who might have meant their home.
    """
    if not folder.exists():
        make_private(folder)
        return
    there = {path.name for path in folder.iterdir()}
    for part in there & _PARTS:
        make_private(folder / part)
    if there <= _PARTS | _FILES:
        folder.chmod(0o700)
    for name in there & _FILES:
        (folder / name).chmod(0o600)
