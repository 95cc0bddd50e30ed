"""The API keys of one cloud, as they are now: they change while everything runs."""

from collections.abc import Mapping


class Keyring:
    """What signatures are verified with, and what we sign with.

    Whoever verifies or signs looks here each time, and keeps nothing: `replace` then takes effect at once.
    """

    __slots__ = ("signing", "verifying")

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.verifying: Mapping[str, bytes] = {key: secret.encode() for key, secret in keys.items()}  # API key -> API secret
        self.signing: tuple[str, str] = next(iter(keys.items()))  # the first

    def replace(self, keys: Mapping[str, str]) -> bool:
        """Use these keys from now on; tells whether they are others. Without any, nothing is proven any more."""
        before = (self.verifying, self.signing)
        self.verifying = {key: secret.encode() for key, secret in keys.items()}
        self.signing = next(iter(keys.items()), self.signing)
        return before != (self.verifying, self.signing)
