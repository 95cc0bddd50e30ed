"""What Cloudinary's APIs answer when they don't do what was asked; one class for each thing that a caller does about it."""

from typing import ClassVar

from service.errors import MediamirrorError


class CloudinaryError(MediamirrorError):
    """Cloudinary did not do {function} in {cloud}: {said} (status {status}, request {request_id})."""

    # a later try, of the very same call, may succeed
    passing: ClassVar[bool] = False

    def __init__(
        self,
        *,
        said: str,
        status: int | None = None,
        request_id: str | None = None,
        cloud: str = "?",
        function: str = "?",
        effect_unknown: bool = False,
    ) -> None:
        super().__init__(said=said, status=status or "none", request_id=request_id or "unknown", cloud=cloud, function=function)
        self.said = said
        self.status = status
        self.request_id = request_id
        self.effect_unknown = effect_unknown  # the call may have taken effect all the same


class BadRequestError(CloudinaryError):
    """Cloudinary could not use what {function} in {cloud} asked: {said} (status {status}, request {request_id})."""


class CredentialsError(CloudinaryError):
    """Cloudinary does not accept the API key and secret configured for {cloud}: {said} (status {status}, request {request_id}).
    Compare them with those in its Console under Settings > API Keys.
    """


class NotAllowedError(CloudinaryError):
    """Cloudinary does not allow {function} in {cloud} with this API key: {said} (status {status}, request {request_id})."""


class NotFoundError(CloudinaryError):
    """Cloudinary has no such thing in {cloud}, says {function}: {said} (status {status}, request {request_id})."""


class AlreadyExistsError(CloudinaryError):
    """In {cloud} there is one already, says {function}: {said} (status {status}, request {request_id})."""


class RateLimitedError(CloudinaryError):
    """Cloudinary takes no more calls of {function} for {cloud} for now: {said} (status {status}, request {request_id})."""

    passing = True

    def __init__(
        self,
        *,
        said: str,
        status: int | None = None,
        request_id: str | None = None,
        cloud: str = "?",
        function: str = "?",
        effect_unknown: bool = False,
        resets_in: float = 60.0,
    ) -> None:
        super().__init__(
            said=said, status=status, request_id=request_id, cloud=cloud, function=function, effect_unknown=effect_unknown
        )
        self.resets_in = resets_in  # seconds until it takes calls again, by its own clock; a guess when it does not tell


class StillProcessingError(CloudinaryError):
    """Cloudinary is still at work on what {function} in {cloud} needs: {said} (status {status}, request {request_id})."""

    passing = True


class UnavailableError(CloudinaryError):
    """Cloudinary gave {function} in {cloud} no usable answer: {said} (status {status}, request {request_id})."""

    passing = True


class NoDateError(MediamirrorError):
    """An answer of Cloudinary's came without a Date header, so it can't be told when what it says was true. Does a proxy take
    it away?
    """
