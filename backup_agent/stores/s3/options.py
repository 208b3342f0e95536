"""Checks the values of a destination's put_options against boto3's own description of S3.

The settings check only the names (`PUT_OPTIONS`): the supervisor reads them, and must not import boto3.
"""

from datetime import datetime
from typing import Any

from backup_agent.stores.s3.bucket import Parameter, parameters_of

_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "a string"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "timestamp": ((str, datetime), "a time"),
    "map": (dict, "a map of strings"),
}


def check_put_options(options: dict[str, Any]) -> list[str]:
    """Return the faults of a destination's put_options. No value is quoted.

    >>> check_put_options({"BucketKeyEnabled": "yes"})
    ['BucketKeyEnabled: true or false expected (got str)']
    """
    if not options:
        return []  # most destinations have none, and reading the description takes long
    parameters = parameters_of("PutObject")
    return [
        f"{name}: {expected} expected (got {type(value).__name__})"
        for name, value in options.items()
        if (expected := _misfit(name, parameters[name], value))
    ]


def _misfit(name: str, parameter: Parameter, value: object) -> str:
    """Return what an option should be, or an empty string if it is valid."""
    if parameter.choices and name != "StorageClass":  # stores other than AWS have storage classes of their own
        return "" if value in parameter.choices else f"one of {', '.join(parameter.choices)}"
    kind, expected = _TYPES[parameter.type]
    if isinstance(value, dict) and kind is dict:
        fits = all(isinstance(item, str) for pair in value.items() for item in pair)
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return "" if fits else expected
