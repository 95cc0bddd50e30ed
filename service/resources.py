"""Files of the repository that are needed at run time, wherever the project was installed from."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource(path: str) -> Path:
    """The file or folder at `path`, relative to the repository's root, e.g. `resource("deploy/kafka")`.

    A wheel carries a copy of what pyproject.toml force-includes; a checkout has the original.
    """
    bundled = _PACKAGE / "_bundled" / path
    return bundled if bundled.exists() else _PACKAGE.parent / path
