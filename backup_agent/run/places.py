"""The places artifacts stand at: the volume, whose name is `local`, and each destination of the settings.

Only a child that opens a destination has boto3 in memory.
"""

from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import VOLUME, Destination, Settings
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store


def open_place(name: str, settings: Settings) -> Store:
    """Return the store of a place; raise PermanentError where there is none of that name, or its options cannot be."""
    if name == VOLUME:
        return LocalStore(settings.storage.root, VOLUME)
    if name not in settings.storage.destinations:
        known = ", ".join((VOLUME, *settings.storage.destinations))
        raise PermanentError(Reason.NOT_FOUND, f"{name}: there is no such place; the settings have {known}")
    return _destination(name, settings.storage.destinations[name], settings.cluster)


def _destination(name: str, one: Destination, cluster: str) -> Store:
    """Return the store of a destination; raise PermanentError where its options cannot be."""
    from backup_agent.stores.s3 import S3Store, check_put_options  # noqa: PLC0415  boto3 lives in this child alone

    faults = check_put_options(one.put_options)
    if faults:
        where = f"storage.destinations.{name}.put_options"
        raise PermanentError(Reason.INTERNAL, "\n".join(f"{where}: {fault}" for fault in faults), f"mend {where}")
    return S3Store(
        bucket=one.bucket,
        prefix=f"{one.prefix}/{cluster}" if one.prefix else cluster,
        endpoint_url=one.endpoint_url,
        region=one.region,
        path_style=one.path_style,
        ca_file=one.ca_file,
        bandwidth=one.bandwidth,
        put_options=one.put_options,
        name=name,
        single_writer=one.single_writer,
    )
