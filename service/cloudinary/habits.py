"""What an account's API has proved to take at once: learnt from its refusals, and kept for as long as the process."""

import re
from dataclasses import dataclass, field, replace

AT_ONCE = 100  # the most assets that are asked for at once: what one of the vendor's own sources says, where another says 10
# A limit that a refusal tells is believed, if it is less than what was refused.
_TOLD = re.compile(r"\b(?:max(?:imum)?|most|limit(?:ed)?|up to)\b\D{0,40}?(\d{1,4})\b", re.IGNORECASE)


@dataclass(slots=True)
class Most:
    """How many assets one call may ask for: `passed` at least, and less than `refused`."""

    passed: int = 1
    refused: int = AT_ONCE + 1

    @property
    def size(self) -> int:
        """How many to ask for: all, until some were refused; then the middle of what is not known yet."""
        return AT_ONCE if self.refused > AT_ONCE else max(self.passed, (self.passed + self.refused) // 2)

    def pass_(self, count: int) -> None:
        """Note that so many went through."""
        self.passed = min(max(self.passed, count), self.refused - 1)

    def refuse(self, count: int, said: str) -> None:
        """Note that so many did not, with these words."""
        told = [number for number in map(int, _TOLD.findall(said)) if 0 < number < count]
        if told:
            self.passed, self.refused = max(told), max(told) + 1
        else:
            self.passed, self.refused = 1 if count <= self.passed else self.passed, count


@dataclass(slots=True)
class Habits:
    """Of one account, by function of the SDK's."""

    _most: dict[str, Most] = field(default_factory=dict)

    def most_of(self, function: str) -> Most:
        """Give a copy of what is known, to try things with."""
        return replace(self._most.get(function) or Most())

    def keep(self, function: str, most: Most) -> None:
        """Keep what has proved to be so."""
        self._most[function] = most
