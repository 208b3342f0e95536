"""Exponential backoff: the wait before the next try doubles with each failure, up to a maximum."""

from dataclasses import dataclass

FIRST_WAIT = 15.0
LONGEST_WAIT = 900.0


@dataclass
class Backoff:
    """The failures in a row and the time of the next try, in monotonic seconds."""

    failures: int = 0
    _failed: float = 0.0
    _again: float = 0.0

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures, self._again = 0, 0.0

    def failed(self, monotonic: float) -> None:
        """Double the wait before the next try."""
        # Ten doublings exceed LONGEST_WAIT. A thousand, reached after ten days of failures, would overflow a float.
        self._failed = monotonic
        self._again = monotonic + min(FIRST_WAIT * 2 ** min(self.failures, 10), LONGEST_WAIT)
        self.failures += 1

    def try_at_once(self) -> None:
        """Allow the next try at once."""
        self._again = 0.0

    def within(self, seconds: float) -> None:
        """Allow the next try at most `seconds` after the last failure."""
        self._again = min(self._again, self._failed + seconds)

    def due(self, monotonic: float) -> bool:
        """Return whether a try may be made now."""
        return monotonic >= self._again

    def wait(self, monotonic: float) -> float:
        """Return the seconds until a try may be made."""
        return max(0.0, self._again - monotonic)
