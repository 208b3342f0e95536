"""Writes the names of the environment variables of each Python process into a file of its own."""

import json
import os
import sys
from pathlib import Path

if "ENVIRONMENTS" in os.environ:
    content = json.dumps({"argv": sys.orig_argv, "names": sorted(os.environ)})
    Path(os.environ["ENVIRONMENTS"], f"{os.getpid()}-{os.urandom(4).hex()}.json").write_text(content)
