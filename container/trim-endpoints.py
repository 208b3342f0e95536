"""Remove the services that the agent does not use from botocore's endpoints: they take 7 MiB in each process with S3.

Run in the folder of the installed packages.
"""

import json
from pathlib import Path

USED = {"s3", "sts", "sso", "oidc", "portal.sso", "signin"}
"""S3, and what gives out its credentials."""

FILE = Path("botocore/data/endpoints.json")

endpoints = json.loads(FILE.read_text())  # noqa: TID251  a file of a package
for partition in endpoints["partitions"]:
    partition["services"] = {name: one for name, one in partition["services"].items() if name in USED}
FILE.write_text(json.dumps(endpoints))
