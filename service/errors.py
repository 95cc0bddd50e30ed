"""Every error a user or an operator can cause or must act on.

The docstring of a class is its message; `format` fields are its keyword arguments. At the edge (`service/cli.py`) an error
becomes one line on standard error and the exit code `exit_code`.
"""

import inspect
from typing import ClassVar


class MediamirrorError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1

    def __init__(self, **fields: object) -> None:
        super().__init__(inspect.cleandoc(type(self).__doc__ or "").replace("\n", " ").format(**fields))
        self.fields = fields


# The embedded stack


class MissingProgramError(MediamirrorError):
    """{what} is missing. On Debian or Ubuntu, as root, this installs it: `apt-get install --no-install-recommends {packages}`."""


class EmbeddedProgramError(MediamirrorError):
    """{program} failed: {reason}. Its log, {log}, says: {said}"""


class DataFolderInUseError(MediamirrorError):
    """{folder} is in use by another mediamirror, process {owner}. End that one, or use another folder: --data-dir."""


class UnusablePathError(MediamirrorError):
    """The embedded servers can't use {path}: {reason}. Does it belong to another user? --data-dir names another folder."""


class ServerVersionError(MediamirrorError):
    """The data in {folder} is of PostgreSQL {version}, whose server programs are missing. On Debian or Ubuntu, as root, this
    installs them: `apt-get install --no-install-recommends postgresql-{version}`. Or begin again in another folder: --data-dir.
    """
