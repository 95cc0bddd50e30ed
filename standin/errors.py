"""What the stand-in refuses, as Cloudinary does: a status and a message."""

from http import HTTPStatus


class ApiError(Exception):
    """A call that fails; the message is what Cloudinary answers under `error`."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequestError(ApiError):
    """The call makes no sense."""

    status = HTTPStatus.BAD_REQUEST


class UnauthorizedError(ApiError):
    """The call is not signed, or wrongly."""

    status = HTTPStatus.UNAUTHORIZED


class NotFoundError(ApiError):
    """What the call names does not exist."""

    status = HTTPStatus.NOT_FOUND


class AlreadyExistsError(ApiError):
    """What the call would make exists."""

    status = HTTPStatus.CONFLICT


class RateLimitedError(ApiError):
    """The hour's calls are used up. 420 is Cloudinary's own status, from before there was 429."""

    status = 420
