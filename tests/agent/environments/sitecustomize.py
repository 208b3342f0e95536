"""Writes down the names of the environment variables of each Python process, one file a process."""

import json
import os
import sys
from pathlib import Path

if "ENVIRONMENTS" in os.environ:
    content = json.dumps({"argv": sys.orig_argv, "names": sorted(os.environ)})
    Path(os.environ["ENVIRONMENTS"], f"{os.getpid()}-{os.urandom(4).hex()}.json").write_text(content)
