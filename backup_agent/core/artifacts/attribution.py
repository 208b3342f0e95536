"""The attribution of a request: who asked, why, and labels. Requests, records, schedules and log lines have it."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LONGEST_TEXT = 1000
"""Largest number of characters of a free text."""

MOST_LABELS = 16
LONGEST_LABEL = 256
KEY = re.compile(r"[a-z0-9][-a-z0-9_.]{0,62}")

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class ExpectedError(ValueError):
    """An invalid value. The message states only the expected value; the caller adds the word `expected`."""


def valid_labels(value: object) -> object:
    """Return labels unchanged. Raise ExpectedError if they are invalid. The message quotes none of them.

    >>> valid_labels({"ticket": "CHG-42"})
    {'ticket': 'CHG-42'}
    """
    if not isinstance(value, dict):
        raise ExpectedError('keys and values such as {"ticket": "CHG-42"}')
    if len(value) > MOST_LABELS:
        raise ExpectedError(f"at most {MOST_LABELS} labels")
    for number, (key, text) in enumerate(value.items(), start=1):
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ExpectedError(f"in label {number} a key of at most 63 lower-case letters, digits, '-', '_' and '.'")
        if not isinstance(text, str) or len(text) > LONGEST_LABEL or not text.isprintable():
            raise ExpectedError(f"in label {number} a value of at most {LONGEST_LABEL} printable characters")
    return value


Labels = Annotated[dict[str, str], BeforeValidator(valid_labels), Field(max_length=MOST_LABELS)]


class Attribution(BaseModel):
    """Who asked, why, and labels. Requests, schedules and records inherit these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    requested_by: Text | None = Field(
        default=None, description="who asks: free text, recorded and logged", examples=["the DBA"]
    )
    reason: Text | None = Field(
        default=None, description="why: free text, recorded and logged", examples=["before the upgrade"]
    )
    labels: Labels = Field(
        default={},
        description="at most 16 free keys and values, recorded and logged; hold and release select artifacts by them",
        examples=[{"tier": "gold"}],
    )

    @property
    def attribution(self) -> "Attribution":
        """The attribution without the other fields of a subclass."""
        return Attribution(**{name: getattr(self, name) for name in Attribution.model_fields})

    def fields_given(self) -> dict[str, object]:
        """Return the fields that have a value, for log lines."""
        return {name: value for name in Attribution.model_fields if (value := getattr(self, name))}
