"""The S3 store: the only room that imports boto3 and botocore. The supervisor must never import it."""

from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.model import Destination
from backup_agent.stores.s3.options import check_put_options
from backup_agent.stores.s3.store import S3Store

__all__ = ["S3Store", "check_put_options", "open_store"]


def open_store(name: str, destination: Destination, cluster: str) -> S3Store:
    """Return the store of a destination; raise PermanentError if its `put_options` are refused."""
    if faults := check_put_options(destination.put_options):
        where = f"storage.destinations.{name}.put_options"
        text = "\n".join(f"{where}: {fault}" for fault in faults)
        raise PermanentError(Reason.INVALID_REQUEST, text, f"mend {where} in the settings")
    return S3Store(
        bucket=destination.bucket,
        prefix=f"{destination.prefix}/{cluster}" if destination.prefix else cluster,
        endpoint_url=destination.endpoint_url,
        region=destination.region,
        path_style=destination.path_style,
        ca_file=destination.ca_file,
        bandwidth=destination.bandwidth,
        put_options=destination.put_options,
        name=name,
        single_writer=destination.single_writer,
    )
