"""The put_options of a destination, held against boto3's own description of S3."""

import difflib
import re
from datetime import datetime
from typing import Any

from backup_agent.stores.s3.bucket import Parameter, parameters_of

_OWN_PARAMETERS = re.compile(
    r"Bucket|Key|Body|ContentLength|ContentMD5|Checksum.*|If(None)?Match|UploadId|MultipartUpload|WriteOffsetBytes"
)
"""What the agent sets itself, or what would break it; the rest of put_options goes to the store as it is."""
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "a string"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "timestamp": ((str, datetime), "a time"),
    "map": (dict, "a map of strings"),
}


def check_put_options(options: dict[str, Any]) -> list[str]:
    """Return the faults of a destination's put_options, by boto3's own description of S3; no value is quoted.

    >>> check_put_options({"StorageClas": "GLACIER"})
    ['StorageClas: S3 knows no such option (did you mean StorageClass?)']
    """
    if not options:
        return []  # most have none, and the description takes longer to read than all else that opens a place
    puts, uploads = parameters_of("PutObject"), parameters_of("CreateMultipartUpload")
    known = sorted(name for name in puts if name in uploads and not _OWN_PARAMETERS.fullmatch(name))
    faults = []
    for name, value in options.items():
        if name in known:
            if expected := _misfit(name, puts[name], value):
                faults.append(f"{name}: {expected} expected (got {type(value).__name__})")
        elif _OWN_PARAMETERS.fullmatch(name):
            faults.append(f"{name}: the agent sets it itself: leave it out")
        else:
            near = difflib.get_close_matches(name, known, 1)
            faults.append(f"{name}: S3 knows no such option" + (f" (did you mean {near[0]}?)" if near else ""))
    return faults


def _misfit(name: str, parameter: Parameter, value: object) -> str:
    """Return what an option should be, or nothing where it is that."""
    if parameter.choices and name != "StorageClass":  # stores other than AWS have classes of their own
        return "" if value in parameter.choices else f"one of {', '.join(parameter.choices)}"
    kind, expected = _TYPES[parameter.type]
    if isinstance(value, dict) and kind is dict:
        fits = all(isinstance(item, str) for pair in value.items() for item in pair)
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return "" if fits else expected
