"""How a stand-in is to be."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from standin.dialect import Dialect


@dataclass(frozen=True, kw_only=True)
class Options:
    """All times are in seconds; `clock` gives the stand-in's own time, in seconds since 1970."""

    data_dir: Path | None = None  # None: all is kept in memory, and gone with the process
    cloud: str = "demo"
    key: str = "333333333333333"
    secret: str = field(default="stand-in-secret", repr=False)
    host: str = "127.0.0.1"
    port: int = 0  # 0: any that is free
    hourly_limit: int = 500  # calls of the Admin API in one window
    window: float = 3600.0  # windows begin at multiples of it
    clock: Callable[[], float] = time.time
    retry_unit: float = 60.0  # a notification is tried again after 3, 6 and 9 of it
    delivery_timeout: float = 20.0  # for one try of a notification
    seed: int | None = None  # of the faults' randomness
    backup: bool = False  # whether the account backs up each file, so that what was deleted can be restored
    presets: tuple[str, ...] = ("unsigned",)  # upload presets that let anybody upload
    max_upload: int = 100 * 1024**2  # bytes of one file
    metadata_fields: Mapping[str, str] = field(default_factory=dict)  # defined from the beginning: external id -> type
    dialect: Dialect = Dialect()  # noqa: RUF009  # frozen
