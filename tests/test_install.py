"""The lines that install the agent install the locked packages, with any pip and whatever else the index has."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BACKEND = """
import zipfile

METADATA = "Metadata-Version: 2.1\\nName: agent\\nVersion: 1\\n"

def build_wheel(folder, settings=None, metadata=None):
    import builder  # locked: not there if pip builds in an environment of its own
    with zipfile.ZipFile(f"{folder}/agent-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("agent.py", "")
        wheel.writestr("agent-1.dist-info/METADATA", METADATA)
        wheel.writestr("agent-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("agent-1.dist-info/RECORD", "")
    return "agent-1-py3-none-any.whl"

build_editable = build_wheel
"""

PROJECT = """
[build-system]
requires = ["builder>=1"]
build-backend = "backend"
backend-path = ["."]
[project]
name = "agent"
version = "1"
"""


def wheel(index: Path, name: str, version: str, *requires: str, extra: str | None = None) -> str:
    """Write a wheel of an empty module into an index. Return its line of a lock file."""
    path = index / f"{name}-{version}-py3-none-any.whl"
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    files = {
        f"{name}.py": "",
        f"{name}-{version}.dist-info/METADATA": "\n".join([*about, *([f"Provides-Extra: {extra}"] if extra else [])]),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{name}-{version}.dist-info/RECORD": record}.items():
            archive.writestr(file, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with the agent's Makefile and pages, and tiny packages in place of those that the agent needs.

    The index also has newer releases than the locked ones, of the extra's package, of a dependency and of the backend.
    """
    index = tmp_path / "index"
    index.mkdir()
    locked = (
        wheel(index, "application", "1.0", "library[fast]>=1"),
        wheel(index, "library", "1.0", 'accelerator>=1; extra == "fast"', extra="fast"),
        wheel(index, "accelerator", "1.0"),
    )
    builder = wheel(index, "builder", "1.0")
    for name in ("application", "accelerator", "builder"):
        wheel(index, name, "9.0")
    wheel(index, "library", "9.0", 'accelerator>=1; extra == "fast"', extra="fast")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock"):
        (tree / name).write_text("".join(locked))
    (tree / "requirements-build.lock").write_text(builder)
    (tree / "backend.py").write_text(BACKEND)
    (tree / "pyproject.toml").write_text(PROJECT)
    shutil.copy(ROOT / "Makefile", tree)
    return tree


def run(tree: Path, *command: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tree.parent / "index"), "PIP_CONFIG_FILE": os.devnull}
    completed = subprocess.run(
        command, cwd=tree, env={**environ, **offline}, capture_output=True, text=True, check=False, timeout=120
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def installed(venv: Path) -> set[str]:
    found = {path.name.removesuffix(".dist-info") for path in venv.glob("lib/python*/site-packages/*.dist-info")}
    return {name for name in found if not name.startswith(("pip-", "setuptools-"))}


@pytest.mark.parametrize(
    ("target", "venv"),
    [("setup", ".venv"), pytest.param(".venv-demo/.from-lock", ".venv-demo", marks=pytest.mark.nightly)],
)
def test_make_installs_the_locked_packages_although_the_index_has_newer_releases(
    tree: Path, target: str, venv: str
) -> None:
    run(tree, "make", target, f"PYTHON={sys.executable}")

    assert installed(tree / venv) == {"accelerator-1.0", "agent-1", "application-1.0", "builder-1.0", "library-1.0"}


def lines_of(page: str) -> list[str]:
    """Return the lines of a page that install the agent."""
    block = re.search(r"(?m)^    python3 -m venv .*\n(?:    .*\n)+", (ROOT / page).read_text())
    assert block is not None
    return [line.strip() for line in block[0].splitlines() if re.search(r"venv \.venv|pip install", line)]


def test_the_lines_of_all_pages_are_the_same_and_install_the_locked_packages(tree: Path) -> None:
    lines = lines_of("README.md")
    assert lines_of("docs/kubernetes.md") == lines

    run(tree, "sh", "-euc", "\n".join(lines).replace("python3", sys.executable))

    assert installed(tree / ".venv") == {"accelerator-1.0", "agent-1", "application-1.0", "builder-1.0", "library-1.0"}


def test_the_lock_has_every_dependency_of_its_packages() -> None:
    completed = subprocess.run((sys.executable, "-m", "pip", "check"), capture_output=True, text=True, check=False)

    assert completed.returncode == 0, completed.stdout


TREE = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
THIS = str(Path(__file__).relative_to(ROOT))
INSTALLS = re.compile(r"""\bpip\b[^#`|]*\binstall\b["', ]+[-*.$a-zA-Z(]""")
FROM_A_LOCK = ("--require-hashes", "--no-deps", "--only-binary")
FROM_THE_TREE = ("--no-deps", "--no-build-isolation")


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each tracked text file, with continued lines joined."""
    for name in TREE:
        path = ROOT / name
        if name != THIS and path.is_file() and path.suffix in {"", ".md", ".py", ".toml", ".yaml"}:
            yield name, path.read_text().replace("\\\n", " ")


def test_every_line_that_installs_packages_requires_hashes() -> None:
    """By text: every place of the tree that runs pip, or tells a person to, names the options or has them in the file."""
    faults = [
        f"{name}: {line.strip()}"
        for name, text in texts()
        for line in text.splitlines()
        if INSTALLS.search(line)
        and name != "CHANGELOG.md"
        and not all(option in (text if name.endswith(".py") else line) for option in FROM_A_LOCK)
        and not all(option in line for option in FROM_THE_TREE)
    ]

    assert faults == []


@pytest.mark.parametrize(
    "installer",
    [
        r"\buv run\b",
        r"\buvx\b",
        r"\buv pip install\b",
        r"\bpipx\b",
        r"\bnpm (?:i|install|ci)\b",
        r"curl .*\| *(?:ba)?sh",
    ],
)
def test_no_line_installs_packages_with_a_program_that_ignores_hashes(installer: str) -> None:
    assert [name for name, text in texts() if re.search(installer, text)] == []


@pytest.mark.parametrize("lock", [name for name in TREE if name.endswith(".lock")])
def test_every_package_of_a_lock_has_one_version_and_a_hash(lock: str) -> None:
    entries = re.split(r"\n(?! )", (ROOT / lock).read_text().replace("\\\n", " ").strip())

    assert entries
    assert [one for one in entries if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", one)] == []
