"""The S3 store: the only room that imports boto3 and botocore. The supervisor must never import it."""

from backup_agent.stores.s3.options import check_put_options
from backup_agent.stores.s3.store import S3Store

__all__ = ["S3Store", "check_put_options"]
