"""The put_options of a destination, held against boto3's own description of S3."""

import difflib
import re
from datetime import datetime
from typing import Any

import botocore.session
from botocore.model import Shape

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
    service = botocore.session.Session().get_service_model("s3")
    puts = service.operation_model("PutObject").input_shape.members
    uploads = service.operation_model("CreateMultipartUpload").input_shape.members
    known = sorted(name for name in puts if name in uploads and not _OWN_PARAMETERS.fullmatch(name))
    faults = []
    for name, value in options.items():
        if name in known:
            if expected := _misfit(puts[name], value):
                faults.append(f"{name}: {expected} expected (got {type(value).__name__})")
        elif _OWN_PARAMETERS.fullmatch(name):
            faults.append(f"{name}: the agent sets it itself: leave it out")
        else:
            near = difflib.get_close_matches(name, known, 1)
            faults.append(f"{name}: S3 knows no such option" + (f" (did you mean {near[0]}?)" if near else ""))
    return faults


def _misfit(shape: Shape, value: object) -> str:
    """Return what an option should be, or nothing where it is that."""
    kind, expected = _TYPES[shape.type_name]
    # Stores other than AWS have storage classes of their own.
    if shape.type_name == "string" and shape.enum and shape.name != "StorageClass":
        return "" if value in shape.enum else f"one of {', '.join(shape.enum)}"
    if shape.type_name == "map" and isinstance(value, dict):
        return "" if all(isinstance(item, str) for pair in value.items() for item in pair) else expected
    return "" if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)) else expected
