"""A Cloudinary account in miniature: what is true, and the notifications that tell of it.

Written from Cloudinary's documentation alone. It shares no code with the mirror, so that the two can be held against each other.
"""

from tests.account.account import Account

__all__ = ["Account"]
