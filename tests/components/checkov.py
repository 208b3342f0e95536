"""checkov, a policy scanner of Kubernetes objects, in its own environment, because it pins very many packages.

A minute and 291 MB the first time; compiled as it is used, since most of it never is. It never calls its vendor (`--skip-download`), and its findings need no account.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.components.cache import MissingComponentError, cached

LOCK = Path(__file__).with_name("checkov.lock")


def checkov() -> Path:
    """Return the path of the program. Raise MissingComponentError if it cannot be installed."""
    return cached(f"checkov-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}", _install) / "bin" / "checkov"


def failed_checks(folder: Path) -> list[tuple[str, str]]:
    """Return check and object of each finding about the objects in a folder."""
    # By its interpreter: the environment was moved after it was made.
    program = checkov()
    completed = subprocess.run(
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
    found: dict[str, Any] = json.loads(completed.stdout)
    assert found["summary"]["passed"] > 0, completed.stderr
    return [(one["check_id"], one["resource"]) for one in found["results"]["failed_checks"]]


def _install(folder: Path) -> None:
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile")
    try:
        for command in (
            (sys.executable, "-m", "venv", str(folder)),
            (*pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(LOCK)),
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingComponentError(f"checkov cannot be installed: {error}") from error
