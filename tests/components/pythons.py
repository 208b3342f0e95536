"""Print a Python with the tests' packages for each newer version that this machine has: `python -m tests.components.pythons`.

A version is looked for on PATH and among pyenv's. Each gets a virtual environment from the lock files, kept in the cache
folder; a version that is not found is named on stderr.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.components.cache import cached

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.12", "3.13", "3.14")
"""Versions in addition to 3.11, with which all tests run."""

LOCKS = ("requirements-build.lock", "requirements-dev.lock")
OPTIONS = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary", ":all:")


def main() -> None:
    """Print the paths of the interpreters, one a line."""
    for version in VERSIONS:
        found = next(interpreters(version), None)
        if found is None:
            sys.stderr.write(f"Python {version} was not found on PATH or among pyenv's versions: nothing runs on it\n")
        else:
            sys.stdout.write(f"{environment(version, found)}\n")


def interpreters(version: str) -> Iterator[str]:
    """Yield the interpreters of a version that can make virtual environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = shutil.which(f"python{version}")
    says = "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    for path in (named, *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))):
        if (
            path
            and subprocess.run((path, "-c", says), capture_output=True, text=True, check=False).stdout == f"{version}\n"
        ):
            yield path


def environment(version: str, python: str) -> Path:
    """Return the interpreter of a version's virtual environment, made anew when a lock file has changed."""
    state = "".join((python, str(ROOT), *((ROOT / lock).read_text() for lock in LOCKS)))
    digest = hashlib.sha256(state.encode()).hexdigest()[:12]
    return cached(f"python-{version}-{digest}", partial(_fill, python)) / "bin/python"


def _fill(python: str, folder: Path) -> None:
    subprocess.run((python, "-m", "venv", folder), check=True)
    locks = [word for lock in LOCKS for word in ("-r", ROOT / lock)]
    subprocess.run((folder / "bin/python", "-m", "pip", "install", *OPTIONS, *locks), check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "checkout.pth").write_text(
        f"{ROOT}\n"
    )  # programs that tests start in other folders import the agent, too


if __name__ == "__main__":
    main()
