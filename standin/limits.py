"""The hourly limit of the Admin API."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from standin.errors import RateLimitedError
from standin.options import Options
from standin.store import Store


class Limits:
    """Counts calls in windows that begin at multiples of their length, as clock hours do. The count survives a restart."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self.allowed = options.hourly_limit  # a test may change it at any time
        self._window = int(store.get("limit_window") or -1)
        self._used = int(store.get("limit_used") or 0)

    @property
    def used(self) -> int:
        """Calls that were served in this window."""
        self._begin_window()
        return self._used

    @property
    def remaining(self) -> int:
        """Calls that are left in this window."""
        return max(0, self.allowed - self.used)

    @property
    def resets_at(self) -> int:
        """When the next window begins, in seconds since 1970 by the stand-in's clock."""
        self._begin_window()
        return math.ceil((self._window + 1) * self._options.window)

    def take(self) -> None:
        """Count a call; raises `RateLimitedError` when there is none left."""
        if not self.remaining:
            resets_at = datetime.fromtimestamp(self.resets_at, UTC)
            raise RateLimitedError(
                f"Rate Limit Exceeded. Limit of {self.allowed} api operations reached. "
                f"Try again on {resets_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        self._used += 1
        with self._store.transaction():
            self._store.put("limit_used", self._used)

    def headers(self) -> Mapping[str, str]:
        """Give what each answer of the Admin API says of them."""
        return {
            "X-FeatureRateLimit-Limit": str(self.allowed),
            "X-FeatureRateLimit-Remaining": str(self.remaining),
            "X-FeatureRateLimit-Reset": format_datetime(datetime.fromtimestamp(self.resets_at, UTC), usegmt=True),
        }

    def _begin_window(self) -> None:
        window = math.floor(self._options.clock() / self._options.window)
        if window == self._window:
            return
        self._window, self._used = window, 0
        with self._store.transaction():
            self._store.put("limit_window", window)
            self._store.put("limit_used", 0)
