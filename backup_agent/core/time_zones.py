"""Time zones by their IANA names."""

from zoneinfo import ZoneInfo


def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raise ValueError with the expected form if no time zone has this name.

    >>> zone("Europe/Berlin")
    zoneinfo.ZoneInfo(key='Europe/Berlin')
    """
    try:
        if name != "localtime":  # some time zone databases have this entry for the zone of the machine
            return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError; OSError: "Europe" is a folder
        pass
    raise ValueError("an IANA time zone such as Europe/Berlin or UTC")
