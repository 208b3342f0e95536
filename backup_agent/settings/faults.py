"""The faults of the settings, all reported at once: each with its path, what was expected and what was found."""

from dataclasses import dataclass

MOST_SHOWN = 100
"""Largest number of faults that the text of an error lists. Further faults are only counted."""


@dataclass(frozen=True)
class Fault:
    """One fault. `origin` names the environment variable if the value is from the environment."""

    path: str
    text: str
    origin: str = ""

    def __str__(self) -> str:
        place = f"{self.path} ({self.origin})" if self.origin and self.path else self.path or self.origin
        return f"{place}: {self.text}" if place else self.text


class SettingsError(Exception):
    """The settings cannot be used. The text has a line for each fault, up to MOST_SHOWN, or the fault of the file."""

    def __init__(self, source: str, faults: tuple[Fault, ...], *, no_file: bool = False) -> None:
        """`no_file` says that the default file does not exist, so that only the environment was read."""
        if no_file:
            super().__init__(_listed(f"{source}: no such file, and the environment alone is not enough:", faults))
        elif len(faults) == 1 and not faults[0].path and not faults[0].origin:  # of the file, not of a setting
            super().__init__(f"{source}: {faults[0].text}")
        else:
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            super().__init__(_listed(f"{count} in the settings ({source}):", faults))
        self.source = source
        self.faults = faults


def _listed(head: str, faults: tuple[Fault, ...]) -> str:
    lines = [f"  {fault}" for fault in faults[:MOST_SHOWN]]
    if more := len(faults) - len(lines):
        lines.append(f"  and {more} more")
    return "\n".join([head, *lines])
