"""Addresses in the settings, as text."""

import re
from ipaddress import IPv6Address

PAGE = "127.0.0.1:8082"
"""The default of `http.page`."""

_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?"
)
_LAST_PORT = 65535


def split_address(value: str) -> tuple[str, int | None]:
    """Return host and port of `host`, `host:port` or `[v6]:port`; raise ValueError for anything else."""
    found = re.fullmatch(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+))(:(?P<port>[0-9]{1,5}))?", value)
    if not found or (found["port"] and int(found["port"]) > _LAST_PORT):
        raise ValueError
    if found["v6"]:
        IPv6Address(found["v6"])
    elif not _HOST.fullmatch(found["host"]):
        raise ValueError
    return found["v6"] or found["host"], int(found["port"]) if found["port"] else None
