"""A call of the SDK's, of which only this module knows that it may fail before anything is sent."""

from collections.abc import Awaitable
from typing import TypeVar

from service.cloudinary.errors import CloudinaryError
from service.database import DatabaseUnreachableError

T = TypeVar("T")

_SAID_CHARACTERS = 500


class UnusableCallError(CloudinaryError):
    """What was asked for can't be made a call to Cloudinary in {cloud}: {said}."""


async def attempted(call: Awaitable[T], cloud: str) -> T:
    """Give a call's answer; raises `DatabaseUnreachableError`, and `CloudinaryError`, also for what the SDK can't take.

    So what is the fault of one operation looks like no outage, whatever it is.
    """
    try:
        return await call
    except (CloudinaryError, DatabaseUnreachableError):
        raise
    except Exception as error:
        raise UnusableCallError(said=repr(error)[:_SAID_CHARACTERS], cloud=cloud) from error
