"""API keys that change while a role runs: read again at SIGHUP, and whenever a file that they come from has changed."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from pydantic import SecretStr

from service.errors import MediamirrorError
from service.settings import PREFIX, Settings, load_settings

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 2.0
_NO_CLOUD = "no cloud is configured there any more"
_FIXED = f"they come from the environment, which a running process keeps; {PREFIX}CLOUDS_FILE names a file that can change"


class KeyReload:
    """Puts the keys of newer settings in place of those in use, in whatever uses these clouds.

    Of a cloud that is configured no longer, nothing is accepted any more. Beyond that, which clouds there are is settled at the
    start. What can't be used changes nothing.
    """

    def __init__(
        self, settings: Settings, *, load: Callable[[], Settings] = load_settings, files: Sequence[Path] | None = None
    ) -> None:
        """`files`: where `load` finds the keys, if not only in those that the environment names."""
        self._clouds = settings.clouds
        self._load = load
        self._files = [*key_files(), *(files or ())]
        self._then: list[Callable[[], None]] = []
        self._seen: list[tuple[int, int, int] | None] = []  # not known to be what the settings were read from

    def then(self, act: Callable[[], None]) -> None:
        """Have something done after each change."""
        self._then.append(act)

    async def watch(self) -> None:
        """Reload whenever a file has changed, until cancelled."""
        while self._files:
            await asyncio.sleep(_LOOK_SECONDS)
            if (seen := self._look()) != self._seen:
                self._seen = seen  # looked at before it is read: what is written meanwhile is seen the next time
                self._read()

    def reload(self) -> None:
        """Read the keys again, and use them from now on."""
        if not self._clouds:
            log.info("no keys to reload")
        elif not self._files:
            log.warning("keys unchanged", reason=_FIXED)
        else:
            self._read()

    def _read(self) -> None:
        try:
            found = self._load().clouds
            if found or not self._clouds:
                self._take({name: cloud.keys for name, cloud in found.items()})
            else:
                log.error("keys not reloaded, the old ones stay", reason=_NO_CLOUD)
        except MediamirrorError as error:
            log.error("keys not reloaded, the old ones stay", reason=str(error))
        except Exception:
            # the roles are at work, and can be with the keys that they have
            log.exception("keys not reloaded")

    def _take(self, found: Mapping[str, Mapping[str, SecretStr]]) -> None:
        changed = [name for name, cloud in self._clouds.items() if cloud.replace_keys(found.get(name, {}))]
        for name in changed:
            if name in found:
                log.info("keys reloaded", cloud=name, keys=list(found[name]))
            else:
                log.warning("cloud without keys now, all of its notifications are refused; a restart forgets it", cloud=name)
        for name in found.keys() - self._clouds.keys():
            log.warning("cloud is new, it takes a restart", cloud=name)
        if changed:
            for act in self._then:
                act()

    def _look(self) -> list[tuple[int, int, int] | None]:
        """Tell which files these are, and of when: where a link leads, as Kubernetes swaps them."""
        return [_state(file) for file in self._files]


def key_files() -> list[Path]:
    """Give the files that the environment names for keys."""
    return [Path(file) for name, file in os.environ.items() if name.startswith(f"{PREFIX}CLOUDS") and name.endswith("_FILE")]


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
