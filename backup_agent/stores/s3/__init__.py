"""The S3 store: the only package that imports boto3 and botocore. The supervisor must never import it."""

from backup_agent.core.escaping import shell_word
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.s3 import S3Destination
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.kind import RestoreAccess
from backup_agent.stores.s3.options import check_put_options
from backup_agent.stores.s3.store import S3Store

__all__ = ["S3Store", "check_put_options", "open_store", "restore_access"]


def open_store(name: str, destination: S3Destination, cluster: str, features: StoreFeatures) -> S3Store:
    """Return the store of a destination; raise PermanentError if its `put_options` are refused."""
    if faults := check_put_options(destination.put_options):
        where = f"storage.destinations.{name}.put_options"
        text = "\n".join(f"{where}: {fault}" for fault in faults)
        raise PermanentError(Reason.INVALID_REQUEST, text, f"correct {where} in the settings")
    return S3Store(
        bucket=destination.bucket,
        prefix=_prefix(destination, cluster),
        endpoint_url=destination.endpoint_url,
        region=destination.region,
        path_style=destination.path_style,
        ca_file=destination.ca_file,
        bandwidth=destination.bandwidth,
        put_options=destination.put_options,
        name=name,
        single_writer=destination.single_writer,
        features=features,
        parallel_parts=destination.parallel_parts,
    )


def restore_access(destination: S3Destination, cluster: str) -> RestoreAccess:
    """Return how the artifacts in a bucket are read by the AWS command line, and by a Neo4j server."""
    region, endpoint, ca_file = destination.region, destination.endpoint_url, destination.ca_file
    options = (("--endpoint-url", endpoint), ("--region", region), ("--ca-bundle", ca_file and str(ca_file)))
    variables = (("AWS_REGION", region), ("AWS_ENDPOINT_URL_S3", endpoint))
    return RestoreAccess(
        uri=f"s3://{destination.bucket}/{_prefix(destination, cluster)}",
        fetch=" ".join(("aws s3 cp", *(f"{name} {shell_word(value)}" for name, value in options if value))),
        setup=("aws configure set default.s3.addressing_style path",) if destination.path_style else (),
        server_needs=(
            "credentials that may read and list the bucket",
            *(f"{name}={shell_word(value)}" for name, value in variables if value),
        ),
    )


def _prefix(destination: S3Destination, cluster: str) -> str:
    return f"{destination.prefix}/{cluster}" if destination.prefix else cluster
