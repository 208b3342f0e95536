"""Remove what the agent does not use from botocore's data: it takes 8 MiB and 15 ms of CPU in each process with S3.

That is the endpoints of other services, and the documentation in the descriptions. Run in the folder of the installed
packages, from which the descriptions of other services were removed.
"""

import gzip
import json
from pathlib import Path
from typing import Any

USED = {"s3", "sts", "sso", "oidc", "portal.sso", "signin"}
"""S3, and what gives out its credentials."""

DATA = Path("botocore/data")


def undocumented(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Return a value with empty documentation: botocore needs the key. A member of a shape may have that name, too."""
    if isinstance(value, dict):
        return {
            key: "" if key == "documentation" and isinstance(one, str) else undocumented(one)
            for key, one in value.items()
        }
    return [undocumented(one) for one in value] if isinstance(value, list) else value


endpoints = json.loads((DATA / "endpoints.json").read_text())  # noqa: TID251  a file of a package
for partition in endpoints["partitions"]:
    partition["services"] = {name: one for name, one in partition["services"].items() if name in USED}
(DATA / "endpoints.json").write_text(json.dumps(endpoints))

for file in DATA.glob("*/*/*.json.gz"):
    description = json.loads(gzip.decompress(file.read_bytes()))  # noqa: TID251  a file of a package
    file.write_bytes(gzip.compress(json.dumps(undocumented(description)).encode(), mtime=0))
