"""The keys that a store accepts: those that mean the same on every store and never lead out of its root.

Names with a leading dot are the agent's own. They can be written and read, and are never listed.
"""

import re

from backup_agent.core.artifacts.keys import segments
from backup_agent.core.reasons import PermanentError, Reason

LONGEST_KEY = 900
"""Largest length of a key in bytes. S3 accepts 1,024 bytes, including the prefix."""
LONGEST_PART = 255
"""Largest length of a part in bytes, as on Linux file systems."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""Names that need no further check. Most names in a listing match."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parts_of(key: str) -> tuple[str, ...]:
    """Return the parts of a key; raise `PermanentError`, reason `invalid_request`, if it is not valid."""
    parts = segments(key)
    if fault := _fault(key, parts):
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"{key!r} is not a valid key of a store: {fault}",
            "a key is <set>/<database>/<name>, without '..', without a '/' at either end",
        )
    return parts


def is_listed(key: str) -> bool:
    """Return whether listings show a key: it must be valid, and none of its parts may have a leading dot.

    The `lost+found` of a file system is not listed either: only root may read it.
    """
    if _PLAIN.fullmatch(key) and key != "lost+found":
        return True
    parts = segments(key)
    return not _fault(key, parts) and not any(part.startswith(".") or part == "lost+found" for part in parts)


def other_content(where: str) -> PermanentError:
    """Return the error for a key that already has other content. The caller leaves the object unchanged."""
    return PermanentError(
        Reason.ALREADY_EXISTS,
        f"{where} exists with other content, and is not overwritten",
        "find out which program wrote it; two agents may share this place, or it may be an altered upload; once the "
        "object is deleted, the copy is made",
    )


def _fault(key: str, parts: tuple[str, ...]) -> str:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if _CONTROL.search(key):
        return "it contains a control character"
    if "\\" in key:
        return "it contains a backslash, which SeaweedFS treats as a slash"
    if len(encoded) > LONGEST_KEY:
        return f"it is longer than {LONGEST_KEY} bytes"
    for part in parts:
        if part in {"", ".", ".."}:
            return f"one of its parts is {part!r}"
        if len(part.encode()) > LONGEST_PART:
            return f"one of its parts is longer than {LONGEST_PART} bytes"
    return ""
