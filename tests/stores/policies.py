"""The policies of docs/s3.md, put into force for an identity without other permissions."""

import json
import re
from pathlib import Path
from typing import Any

from tests.components.seaweedfs import PRINCIPAL

_PAGE = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()
_USES = ("agent", "agent without deletion", "servers")
_POLICIES = dict(zip(_USES, re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL), strict=True))
"""Purpose -> the policy that the page prints."""


def allow(client: Any, use: str, bucket: str, prefix: str = "neo4j") -> None:
    """Give the identity LIMITED the permissions of a policy of the page in a bucket."""
    text = _POLICIES[use].replace("backups/neo4j/", f"{bucket}/{prefix}/").replace(":::backups", f":::{bucket}")
    policy = json.loads(text)
    statements = [{**one, "Principal": {"AWS": PRINCIPAL}} for one in policy["Statement"]]
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**policy, "Statement": statements}))
