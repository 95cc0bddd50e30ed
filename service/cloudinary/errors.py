"""What Cloudinary's APIs answer when they don't do what was asked; one class for each thing that a caller does about it."""

from typing import ClassVar

from service.errors import MediamirrorError


class CloudinaryError(MediamirrorError):
    """Cloudinary did not do {function} in {cloud}: {said}{trace}."""

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
        known = {"status": status, "request": request_id}
        trace = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
        super().__init__(said=said, trace=f" ({trace})" if trace else "", cloud=cloud, function=function)
        self.said = said
        self.status = status
        self.request_id = request_id
        self.effect_unknown = effect_unknown  # the call may have taken effect all the same


class BadRequestError(CloudinaryError):
    """Cloudinary could not use what {function} in {cloud} asked: {said}{trace}."""


class CredentialsError(CloudinaryError):
    """Cloudinary does not accept the API key and secret configured for {cloud}: {said}{trace}.
    Compare them with those in its Console under Settings > API Keys.
    """


class NotAllowedError(CloudinaryError):
    """Cloudinary does not allow {function} in {cloud} with this API key: {said}{trace}."""


class NotFoundError(CloudinaryError):
    """Cloudinary has no such thing in {cloud}, says {function}: {said}{trace}."""


class AlreadyExistsError(CloudinaryError):
    """In {cloud} there is one already, says {function}: {said}{trace}."""


class RateLimitedError(CloudinaryError):
    """Cloudinary takes no more calls of {function} for {cloud} for now: {said}{trace}."""

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
    """Cloudinary is still at work on what {function} in {cloud} needs: {said}{trace}."""

    passing = True


class UnavailableError(CloudinaryError):
    """Cloudinary gave {function} in {cloud} no usable answer: {said}{trace}."""

    passing = True


class NoDateError(CloudinaryError):
    """An answer of Cloudinary's came without a Date header, so it can't be told when what it says was true. Does a proxy take
    it away?
    """

    passing = True

    def __init__(self) -> None:
        super().__init__(said="no Date header")
