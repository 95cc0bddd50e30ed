"""Notices a cloud whose every webhook is refused for its signature: most likely a secret is wrong, and nothing comes in."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from service.gateway.signature import Reason
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_FEWEST: Final = 3  # as many as Cloudinary makes of one webhook, and then one
_WINDOW_SECONDS: Final = 3600.0  # without any more, it is over
_AGAIN_SECONDS: Final = 600.0  # from line to line in the log
# What anybody may send who has never seen a signature.
_NO_WEBHOOKS: Final = frozenset({Reason.MISSING, Reason.BAD_TIMESTAMP, Reason.BAD_FORM})


@dataclass(slots=True)
class _Run:
    """Refusals of a cloud, with nothing accepted between them."""

    last: float = 0.0
    logged: float = float("-inf")
    reasons: Counter[Reason] = field(default_factory=Counter)


class Refusals:
    """What is refused of each cloud, since something of it was accepted."""

    def __init__(self, metrics: Metrics, clouds: Collection[str], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._runs: dict[str, _Run] = {}
        for cloud in clouds:
            metrics.signatures_refused.labels(cloud).set_function(partial(self._lasts, cloud))

    def accepted(self, cloud: str) -> None:
        """Note that a webhook was accepted."""
        if cloud in self._runs:
            del self._runs[cloud]

    def refused(self, cloud: str, reason: Reason) -> None:
        """Note that a webhook was refused for its signature; when all are, the log says so, once in a while."""
        if reason in _NO_WEBHOOKS:
            return
        now = self._now()
        run = self._runs.get(cloud)
        if run is None or now - run.last > _WINDOW_SECONDS:
            run = self._runs[cloud] = _Run()
        run.last = now
        run.reasons[reason] += 1
        if self._lasts(cloud) and now - run.logged >= _AGAIN_SECONDS:
            run.logged = now
            log.error(
                "every webhook of a cloud is refused for its signature; is its API secret the one configured?",
                cloud=cloud,
                refused=run.reasons.total(),
                reasons=dict(run.reasons),
            )

    def warnings(self) -> list[str]:
        """Say which clouds this is true of now."""
        return [
            f"signature: every webhook of cloud {cloud} is refused ({_in_words(self._runs[cloud].reasons)})"
            for cloud in sorted(self._runs)
            if self._lasts(cloud)
        ]

    def _lasts(self, cloud: str) -> bool:
        run = self._runs.get(cloud)
        return run is not None and run.reasons.total() >= _FEWEST and self._now() - run.last <= _WINDOW_SECONDS


def _in_words(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{number} × {reason}" for reason, number in reasons.most_common())
