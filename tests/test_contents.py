"""The page of licences and the SBOM (CycloneDX 1.6) list what the image contains."""

import json
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from tests.components.checkov import checkov

ROOT = Path(__file__).parents[1]
contents = SimpleNamespace(**runpy.run_path(str(ROOT / "container" / "contents.py")))

BUILD = contents.Build(
    version="0.2.0",
    created="2026-11-30T12:00:00Z",
    base="docker.io/library/neo4j:2026.09.0-enterprise-trixie",
    base_digest="sha256:" + "ab" * 32,
)
SYSTEM = contents.System("debian", "13")
LOCKED = [contents.Package("zstandard", "0.25.0", "BSD-3-Clause"), contents.Package("boto3", "1.44.5", "Apache-2.0")]
DEBIAN = [
    contents.DebianPackage("libssl3t64", "3.5.1-1+deb13u1", "amd64", "openssl"),
    contents.DebianPackage("libstdc++6", "14.2.0-19", "amd64", "gcc-14"),
    contents.DebianPackage("dpkg", "1:1.22.21", "amd64", "dpkg"),
]
REQUIRED = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components"],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {
            "required": ["timestamp", "component"],
            "properties": {"component": {"$ref": "#/$defs/component"}},
        },
        "components": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/component"}},
        "dependencies": {"type": "array", "items": {"required": ["ref"]}},
    },
    "$defs": {
        "component": {
            "required": ["type", "name", "bom-ref"],
            "properties": {
                "type": {"enum": ["application", "container", "library", "operating-system", "platform"]},
                "name": {"type": "string", "minLength": 1},
                "purl": {"pattern": "^pkg:[a-z]+/[^ ]+@[^ ]+$"},
                "licenses": {"maxItems": 1, "items": {"required": ["expression"]}},
            },
        }
    },
}
"""Fields that CycloneDX 1.6 requires, and those that scanners need. Another test validates the whole schema."""

WHOLE_SCHEMA = """
import json, sys
from pathlib import Path
import cyclonedx.schema, jsonschema
from referencing import Registry, Resource
folder = Path(cyclonedx.schema.__file__).parent / "_res"
def read(name):
    return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
parts = {f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json": read(name) for name in ("spdx", "jsf-0.82")}
registry = Registry().with_resources((url, Resource.from_contents(part)) for url, part in parts.items())
checker = jsonschema.Draft7Validator(read("bom-1.6"), registry=registry, format_checker=jsonschema.FormatChecker())
print(json.dumps([f"{fault.json_path}: {fault.message}" for fault in checker.iter_errors(json.load(sys.stdin))]))
"""
"""A program that prints the faults of the SBOM on its stdin. It runs in checkov's environment, which has the schema."""


def sbom(**changed: Any) -> dict[str, Any]:
    given = {"build": BUILD, "python": "3.13.5", "packages": LOCKED, "system": SYSTEM, "debian": DEBIAN} | changed
    found: dict[str, Any] = contents.sbom(**given)
    return found


def purls(found: dict[str, Any]) -> list[str]:
    return [one["purl"] for one in found["components"] if "purl" in one]


def test_the_page_of_licences_lists_the_locked_and_installed_packages() -> None:
    assert (ROOT / "docs" / "licenses.md").read_text() == contents.page(), "run `make licenses`"


def test_an_sbom_has_what_cyclonedx_requires() -> None:
    jsonschema.validate(sbom(), REQUIRED)


@pytest.mark.components
def test_an_sbom_of_all_locked_packages_is_valid_by_the_schema_of_cyclonedx() -> None:
    whole = sbom(packages=contents._locked(ROOT / "requirements.lock"))
    python = str(checkov().with_name("python"))

    completed = subprocess.run(
        (python, "-c", WHOLE_SCHEMA), input=json.dumps(whole), capture_output=True, text=True, check=True
    )

    assert json.loads(completed.stdout) == []
    assert len(whole["components"]) > 25


def test_an_sbom_lists_the_base_the_locked_packages_and_those_of_debian() -> None:
    assert purls(sbom()) == [
        "pkg:oci/neo4j@sha256%3A"
        + "ab" * 32
        + "?repository_url=docker.io%2Flibrary%2Fneo4j&tag=2026.09.0-enterprise-trixie",
        "pkg:pypi/boto3@1.44.5",
        "pkg:pypi/zstandard@0.25.0",
        "pkg:deb/debian/dpkg@1%3A1.22.21?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libssl3t64@3.5.1-1%2Bdeb13u1?arch=amd64&distro=debian-13&upstream=openssl",
        "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14",
    ]


def test_a_component_has_its_licence_and_what_is_bundled_with_it() -> None:
    (found,) = [one for one in sbom()["components"] if one["name"] == "zstandard"]

    assert found["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert found["properties"] == [{"name": "neo4j-backup-agent:contains", "value": "Zstandard (BSD-3-Clause)"}]


def test_the_order_in_which_packages_are_listed_changes_no_byte_of_the_sbom() -> None:
    assert json.dumps(sbom()) == json.dumps(sbom(packages=LOCKED[::-1], debian=DEBIAN[::-1]))


def test_another_package_gives_the_sbom_another_serial_number() -> None:
    assert sbom()["serialNumber"] != sbom(debian=DEBIAN[1:])["serialNumber"]


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("localhost:5000/neo4j", "localhost%3A5000%2Fneo4j&tag=latest"),
        ("localhost:5000/neo4j:5.26.0", "localhost%3A5000%2Fneo4j&tag=5.26.0"),
        ("neo4j", "neo4j&tag=latest"),
    ],
)
def test_the_port_of_a_registry_is_not_the_tag_of_the_base(base: str, expected: str) -> None:
    found = sbom(build=contents.Build("0.2.0", "2026-11-30T12:00:00Z", base, "sha256:ab"))

    assert purls(found)[0] == f"pkg:oci/neo4j@sha256%3Aab?repository_url={expected}"


def test_a_base_without_a_digest_has_no_purl() -> None:
    found = sbom(build=contents.Build("0.2.0", "2026-11-30T12:00:00Z", "localhost/neo4j:mine", ""))

    assert found["components"][0]["name"] == "localhost/neo4j:mine"
    assert "purl" not in found["components"][0]
    jsonschema.validate(found, REQUIRED)


def test_packages_that_were_removed_are_not_installed() -> None:
    text = "ii \tdpkg\t1:1.22.21\tamd64\tdpkg\nrc \told\t1\tall\told\n"

    assert contents.installed(text) == [DEBIAN[2]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n', ("debian", "13")),
        ("ID=debian\nVERSION_CODENAME=sid\n", ("debian", "")),
        ("", ("linux", "")),
    ],
)
def test_the_distribution_is_read_from_os_release(text: str, expected: tuple[str, str]) -> None:
    assert contents.distribution(text) == contents.System(*expected)
