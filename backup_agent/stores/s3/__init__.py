"""The S3 store: the only package that imports boto3 and botocore. The supervisor must never import it."""

from backup_agent.core.escaping import shell_word
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.settings.s3 import S3Destination
from backup_agent.stores.features import StoreFeatures
from backup_agent.stores.kind import SeedAccess
from backup_agent.stores.s3.examining import examine
from backup_agent.stores.s3.options import check_put_options
from backup_agent.stores.s3.store import S3Store

__all__ = ["S3Store", "check_put_options", "examine", "open_store", "seed_access"]


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


def seed_access(destination: S3Destination, cluster: str) -> SeedAccess:
    """Return how a Neo4j server reads the artifacts of a bucket."""
    variables = (("AWS_REGION", destination.region), ("AWS_ENDPOINT_URL_S3", destination.endpoint_url))
    return SeedAccess(
        uri=f"s3://{destination.bucket}/{_prefix(destination, cluster)}",
        server_needs=(
            "CloudSeedProvider in dbms.databases.seed_from_uri_providers",
            "credentials that may read and list the bucket",
            *(f"{name}={shell_word(value)}" for name, value in variables if value),
        ),
    )


def _prefix(destination: S3Destination, cluster: str) -> str:
    return f"{destination.prefix}/{cluster}" if destination.prefix else cluster
