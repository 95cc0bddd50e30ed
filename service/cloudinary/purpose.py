"""What a call of Cloudinary's APIs is for, which decides how long it may have to wait."""

from enum import StrEnum


class Purpose(StrEnum):
    """Who calls."""

    RECONCILE = "reconcile"  # within reconciliation's share of the hourly calls
    WRITE = "write"  # within the hourly calls
    CHECK = "check"  # at once or not at all
