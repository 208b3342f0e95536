"""checkov, a scanner of Kubernetes objects by policy, in an environment of its own: it pins half of PyPI.

A minute and 291 MB the first time; compiled as it is used, since most of it never is. It never calls its vendor (`--skip-download`), and its findings need no account.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.components.cache import MissingComponentError, cached

VERSION = "3.3.30"


def checkov() -> Path:
    """Return the program; raise MissingComponentError where it cannot be had."""
    return cached(f"checkov-{VERSION}", _install) / "bin" / "checkov"


def failed_checks(folder: Path) -> list[tuple[str, str]]:
    """Return check and object of each finding about the objects in a folder."""
    # By its interpreter: the environment was moved after it was made.
    program = checkov()
    done = subprocess.run(
        (
            str(program.with_name("python")),
            str(program),
            *(
                "--directory",
                str(folder),
                "--framework",
                "kubernetes",
                "--output",
                "json",
                "--skip-download",
                "--quiet",
            ),
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["summary"]["passed"] > 0, done.stderr
    return [(one["check_id"], one["resource"]) for one in found["results"]["failed_checks"]]


def _install(folder: Path) -> None:
    try:
        for command in (
            (sys.executable, "-m", "venv", str(folder)),
            (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile", f"checkov=={VERSION}"),
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingComponentError(f"checkov {VERSION} cannot be installed: {error}") from error
