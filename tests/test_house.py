"""Rules of this code base that no linter checks. Each exception is listed here with its reason."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("house")  # so that one worker parses all modules once

ROOT = Path(__file__).parents[1]

VALUE_MODULES = {
    "abc", "base64", "bisect", "collections", "contextlib", "dataclasses", "datetime", "difflib", "enum", "fnmatch", "functools",
    "gc", "graphlib", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "string", "struct", "textwrap",
    "types", "typing", "unicodedata", "urllib.parse", "uuid", "zoneinfo",
}  # fmt: skip
"""Modules of the standard library that the core may import: it works on values alone. (It only defers `gc`.)"""

CORE_LIBRARIES = {"cronsim", "pydantic"}

IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "uuid1", "uuid4"}
"""Names of functions and methods, of any object, that read a clock, make a random id, or do I/O."""

HOMES: dict[str, tuple[str, ...]] = {
    "apscheduler": ("backup_agent/supervisor/",),
    "boto3": ("backup_agent/stores/s3/",),
    "botocore": ("backup_agent/stores/s3/",),
    "click": ("backup_agent/cli/",),
    "cronsim": ("backup_agent/core/requests/cron.py",),
    "cryptography": ("backup_agent/signing/",),
    "jinja2": ("backup_agent/jobs/page.py",),
    "neo4j": (
        "backup_agent/cluster/bolt.py",
        "backup_agent/cluster/scratch_bolt.py",
        "backup_agent/demo/cypher_shell.py",
    ),
    "prometheus_client": ("backup_agent/supervisor/status/metrics.py",),
    "pydantic": ("backup_agent/",),  # its models are the values that packages exchange
    "rfc8785": ("backup_agent/signing/message.py",),
    "structlog": ("backup_agent/",),  # any module may log; backup_agent/logs.py alone configures it
    # The demo acts for a user of the agent: it writes the settings file, and starts the programs.
    "subprocess": (
        "backup_agent/neo4j_admin/process.py",
        "backup_agent/supervisor/children/process.py",
        "backup_agent/demo/",
    ),
    "watchdog": ("backup_agent/supervisor/requests/watch.py",),
    "yaml": ("backup_agent/settings/", "backup_agent/k8s/manifests.py", "backup_agent/demo/"),
    "zstandard": ("backup_agent/artifact/zstd.py",),
}
"""Library -> where it may be imported: one module, or a package that exists for it."""

STORE_OPENERS = {"store", "kind_of", "import_module"}
"""Functions that open the store of a place. They load the destination's client library, which import contracts miss."""

BROAD_HANDLERS = {
    "backup_agent/jobs/backup.py:perform": "around a run: every error becomes an answer",
    "backup_agent/supervisor/agent.py:_step": "around the loop: one bad message must not end the agent",
    "backup_agent/supervisor/status/http.py:_made": "around a page: its fault must not end the server",
    "backup_agent/stores/s3/bucket.py:_in_time": "around what runs in a thread: the caller raises it again",
    "backup_agent/stores/s3/line.py:_work": "raised again by the thread that waits for the results",
    "backup_agent/stores/s3/bucket.py:run": "in the function of the thread: raised again by the caller",
}
"""Functions that may catch `Exception`, and why."""

EXITS = {
    "backup_agent/demo/cypher_shell.py": "a program of its own, a stand-in for Neo4j's",
    "backup_agent/demo/simulate.py": "a program of its own, which the user of the demo starts",
    "backup_agent/supervisor/__main__.py": "`backup-agent run` becomes this program by exec",
    "backup_agent/cli/main.py": "the one command line",
    "backup_agent/cli/signals.py": "the one command line, interrupted while it is imported",
    "backup_agent/cluster/__main__.py": "a child whose supervisor has ended",
    "backup_agent/processes.py": "the end of every child",
}
"""Modules that may end the process."""


OPENS = {
    "backup_agent/durable.py:open_regular": "the reader itself",
    "backup_agent/durable.py:_open_file": "the reader itself",
    "backup_agent/durable.py:create_secret": "a new file of its own, which no other user may read",
    "backup_agent/durable.py:_write_beside": "a new file of its own",
    "backup_agent/durable.py:sync_folder": "a folder",
    "backup_agent/artifact/files.py:open_file": "an artifact, read in chunks; anything but a regular file is refused",
    "backup_agent/catalog/diff.py:_changed": "an artifact in a store, read in chunks",
    "backup_agent/catalog/holds.py:_marks_locked": "only locked",
    "backup_agent/catalog/index.py:__init__": "a new file of its own",
    "backup_agent/catalog/tenure.py:__init__": "/proc",
    "backup_agent/cli/main.py:_flushed": "/dev/null",
    "backup_agent/cli/run.py:_open_standard_streams": "/dev/null",
    "backup_agent/logs.py:end": "/dev/null",
    "backup_agent/cgroup.py:_lines": "/proc and /sys",
    "backup_agent/jobs/drill_scratch.py:_alone": "a folder",
    "backup_agent/jobs/drill_steps.py:_digest_of_files": "the report of `database check`, read in chunks",
    "backup_agent/neo4j_admin/program.py:_java_of_class": "a member of a jar of Neo4j's own, eight bytes of it",
    "backup_agent/processes.py:_stat": "/proc",
    "backup_agent/processes.py:left_behind": "/proc",
    "backup_agent/jobs/check_volume.py:look_at": "/proc",
    "backup_agent/jobs/heal.py:_fetch": "a new file of its own",
    "backup_agent/jobs/notify.py:_post": "an answer over HTTP, read within a bound",
    "backup_agent/jobs/clock_trust.py:of": "/proc",
    "backup_agent/jobs/reread.py:_opened": "an artifact in a store, read in chunks",
    "backup_agent/restore/fetching.py:__init__": "an artifact in a store, read in chunks",
    "backup_agent/restore/fetching.py:fetch_to_stream": "a tar that is written",
    "backup_agent/restore/metadata_script.py:_read": "the header of an artifact in a store, read in chunks",
    "backup_agent/stores/local.py:_open_folder": "a folder, not through a link",
    "backup_agent/stores/local.py:_open_root": "a folder",
    "backup_agent/stores/local.py:_temporary": "a new file of its own",
    "backup_agent/stores/s3/descriptions.py:load_file": "a file of botocore's own, as botocore reads it",
    "backup_agent/stores/s3/store.py:_already_there": "an artifact in a store, read in chunks",
    "backup_agent/supervisor/work/intake.py:recover": "no file: the spool's open entries",
    "backup_agent/catalog/mounts.py:is_own_disk": "/proc",
    "backup_agent/supervisor/trusted_clock.py:read_clocks": "/proc",
    "backup_agent/supervisor/requests/reserve.py:_allocate": "a new file of its own",
    "backup_agent/supervisor/requests/reserve.py:_make": "a folder",
}
"""Functions that open or read files without `durable`, and which files. All others use `durable`, within a limit."""


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Return path and syntax tree of each module of the agent, without the stand-ins, which are separate programs."""
    paths = sorted(path for path in (ROOT / "backup_agent").rglob("*.py") if "standins" not in path.parts)
    return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in paths)


def _lines(found: Iterable[str]) -> str:
    return "\n" + "\n".join(found)  # pytest shortens a list, not a text


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of each module imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def tracked() -> list[Path]:
    listing = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(
    "pattern",
    [
        # The patterns are written so that they do not match this file.
        pytest.param(r"py[p]i\.(org|python\.org)|pythonhoste[d]\.org|(extra-)?index-ur[l]", id="python-index"),
        pytest.param(r"registry\.np[m]js|repo1?\.mave[n]|mave[n]2|proxy\.golan[g]", id="other-index"),
        pytest.param(r"(?<![\w.}~-])/(work|root|home|Users|farm)/[\w.]", id="machine-path"),
    ],
)
def test_no_file_names_an_index_or_a_path_of_a_machine(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().decode(errors="replace").splitlines(), start=1)
        if re.search(pattern, line)
    ]

    assert not found, _lines(found)


def test_no_tracked_file_is_large() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 1024 * 1024] == []


def test_no_tracked_file_is_an_empty_leftover() -> None:
    assert [path.name for path in tracked() if path.stat().st_size == 0 and path.name != "py.typed"] == []


def locked(name: str) -> dict[str, str]:
    """Return the lines of each pinned package of a lock file, by the name of the package."""
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    return {block.partition("==")[0].lower().replace("_", "-"): block for block in blocks}


def required(*requirements: list[str]) -> set[str]:
    return {
        re.split(r"[\[<>=!~; ]", item, maxsplit=1)[0].lower().replace("_", "-")
        for group in requirements
        for item in group
    }


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_locks_have_the_packages_that_pyproject_names() -> None:
    runtime = required(project()["project"]["dependencies"])
    demo = required(project()["project"]["optional-dependencies"]["demo"])
    dev = required(project()["dependency-groups"]["dev"])
    build = required(project()["dependency-groups"]["build"])

    assert build == locked("requirements-build.lock").keys()
    assert runtime <= locked("requirements.lock").keys()
    assert runtime | demo <= locked("requirements-demo.lock").keys()
    assert runtime | demo | dev <= locked("requirements-dev.lock").keys()


def test_the_locks_agree_and_every_pin_has_its_hashes() -> None:
    narrow, wide = locked("requirements-demo.lock"), locked("requirements-dev.lock")

    assert locked("requirements.lock").items() <= narrow.items() <= wide.items()
    for pinned in (wide, locked("requirements-build.lock"), locked("tests/components/checkov.lock")):
        assert [name for name, block in pinned.items() if "--hash=sha256:" not in block] == []


def test_exact_pins_of_pyproject_are_also_those_of_the_lock() -> None:
    exact = [item for item in project()["dependency-groups"]["dev"] if "==" in item]

    for item in exact:
        assert locked("requirements-dev.lock")[next(iter(required([item])))].startswith(item)


def test_the_core_works_on_values_alone() -> None:
    allowed = VALUE_MODULES | CORE_LIBRARIES
    strangers = [
        f"{path} imports {name}"
        for path, tree in modules()
        if path.startswith("backup_agent/core/")
        for name in imported(tree)
        if not name.startswith("backup_agent.core") and not {name, name.partition(".")[0]} & allowed
    ]
    calls = [
        f"{path}:{node.lineno} calls {name}()"
        for path, tree in modules()
        if path.startswith("backup_agent/core/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (name := getattr(node.func, "attr", getattr(node.func, "id", None))) in IMPURE_CALLS
    ]

    assert not (found := strangers + calls), _lines(found)


def test_each_outside_library_has_one_home() -> None:
    strangers = [
        f"{path} imports {name}"
        for path, tree in modules()
        for name in imported(tree)
        if (library := name.partition(".")[0]) in HOMES
        or library not in sys.stdlib_module_names | {"backup_agent", "_typeshed"}
        if not path.startswith(HOMES.get(library, ()))
    ]

    assert not strangers, _lines(strangers)


def test_the_supervisor_opens_no_store() -> None:
    found = [
        f"{path}:{node.lineno} uses {name}"
        for path, tree in modules()
        if path.startswith("backup_agent/supervisor/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and (name := getattr(node, "attr", getattr(node, "id", None))) in STORE_OPENERS
    ]

    assert not found, _lines(found)


KEYS = "backup_agent/core/artifacts/keys.py"
SPLITTERS = {"split", "rsplit", "partition", "rpartition"}


def splits_a_key(node: ast.AST) -> bool:
    """Return whether an expression splits a text at "/", as `key.split("/")` does."""
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", None) in SPLITTERS
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == "/"
    )


def makes_a_key(node: ast.AST) -> bool:
    """Return whether an expression appends "/" to the name of a set, as f"{record.set}/{record.database}" does."""
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(part, ast.FormattedValue)
        and re.search(r"\bset(_name)?\b", ast.unparse(part.value))
        and isinstance(after, ast.Constant)
        and str(after.value).startswith("/")
        for part, after in itertools.pairwise(node.values)
    )


def test_keys_are_made_and_taken_apart_in_one_module() -> None:
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in modules()
        if path != KEYS
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.JoinedStr) and (splits_a_key(node) or makes_a_key(node))
    ]

    assert not found, _lines(found)


def checked_types() -> dict[str, str]:
    """Return each NewType, a type of checked names, and the module that defines it."""
    return {
        node.targets[0].id: path
        for path, tree in modules()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "NewType"
    }


def converts(node: ast.AST, types: Iterable[str]) -> bool:
    """Return whether an expression gives a text one of the types without a check: by a call of the type, or by a cast."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func).rpartition(".")[2]
    if called in {"cast", "map"} and node.args:
        called = ast.unparse(node.args[0]).strip("'")
    return called in types


def test_a_name_gets_its_type_only_where_it_is_checked() -> None:
    homes = checked_types()
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and converts(node, [name for name, home in homes.items() if home != path])
    ]

    assert homes
    assert not found, _lines(found)


STORE_KINDS = re.compile(r"\bs3|s3\b|boto|bucket|\baws", re.IGNORECASE)
"""Words that name one kind of store: S3."""

KINDS_NAMED = {
    "backup_agent/cli/demo.py": "what the demo runs, for a person",
    "backup_agent/core/artifacts/parts.py": "a file is cut for the upload while it is read, by the limits of S3",
    "backup_agent/core/doctor/": "advice, for a person",
    "backup_agent/core/neo4j/command.py": "variables that are secrets, by their prefixes",
    "backup_agent/core/retention/": "buckets of time, as retention has them",
    "backup_agent/demo/": "it runs an S3 server",
    "backup_agent/jobs/notify.py": "the name of a linter's rule",
    "backup_agent/k8s/": "the spec of a cluster: credentials and certificates of its pods",
    "backup_agent/settings/fault_texts.py": "where credentials belong, for a person",
    "backup_agent/settings/model.py": "the kinds of destination",
    "backup_agent/settings/s3.py": "the settings type",
    "backup_agent/stores/": "the home of the stores",
    "backup_agent/supervisor/children/environment.py": "variables that are secrets, by their prefixes",
    "backup_agent/supervisor/status/metrics.py": "buckets of a histogram",
}
"""Where a kind of store may be named, and why."""


def test_a_kind_of_store_is_named_at_its_home_and_where_a_person_must_read_it() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, _ in modules()
        if not path.startswith(tuple(KINDS_NAMED))
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if STORE_KINDS.search(line)
    ]
    unused = [
        place
        for place in KINDS_NAMED
        if not any(path.startswith(place) and STORE_KINDS.search((ROOT / path).read_text()) for path, _ in modules())
    ]

    assert not (found := found + unused), _lines(found)


def broad_handlers(tree: ast.Module) -> Iterator[str]:
    """Yield the name of each function that catches every exception."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler):
                    caught = (
                        {"BaseException"}
                        if node.type is None
                        else {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
                    )
                    if caught & {"Exception", "BaseException"}:
                        yield function.name


def test_only_the_listed_functions_catch_every_exception() -> None:
    found = {f"{path}:{name}" for path, tree in modules() for name in broad_handlers(tree)}

    assert not (found := found ^ BROAD_HANDLERS.keys()), _lines(found)


def test_only_the_listed_modules_end_the_process() -> None:
    found = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and ast.unparse(node) in {"sys.exit", "SystemExit", "os._exit", "exit", "quit"}
    }

    assert not (found := found ^ EXITS.keys()), _lines(found)


PRINTERS = {
    "backup_agent/cli/printing.py": "the commands' output, where control characters are shown as escapes",
    "backup_agent/logs.py": "the log",
    "backup_agent/supervisor/__main__.py": "why the supervisor did not start, escaped as by printing.py",
    "backup_agent/artifact/__main__.py": "ASCII JSON, for programs",
    "backup_agent/cluster/__main__.py": "a child's JSON lines, for the supervisor",
    "backup_agent/quoting.py": "what ended a process, escaped as by printing.py",
    "backup_agent/jobs/event_writer.py": "a child's JSON lines, for the supervisor",
    "backup_agent/demo/cypher_shell.py": "what the simulated cluster answers, as JSON",
    "backup_agent/demo/simulate.py": "names and numbers of the simulated cluster",
}
"""Modules that write to a standard stream, and what. Text from outside must not reach a terminal unescaped."""

PRINTING = {"print", "click.echo", "click.secho", "click.confirm", "click.prompt", "click.pause"}
PRINTING |= {
    f"sys.{stream}.{method}" for stream in ("stdout", "stderr") for method in ("write", "buffer", "writelines")
}


def test_only_the_listed_modules_write_to_a_standard_stream() -> None:
    found = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in PRINTING
    }

    assert not (found := found ^ PRINTERS.keys()), _lines(found)


COPYING = {"shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copyfileobj"}


def opens(tree: ast.Module) -> Iterator[str]:
    """Yield the name of each function that opens a file, or reads or copies a whole one."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and (
                    getattr(node.func, "attr", getattr(node.func, "id", None)) in {"open", "read_bytes", "read_text"}
                    or ast.unparse(node.func) in COPYING
                ):
                    yield function.name


def test_only_the_listed_functions_open_files_without_durable() -> None:
    found = {
        f"{path}:{name}"
        for path, tree in modules()
        if not path.startswith("backup_agent/demo/")  # it acts for a user, in a folder of its own
        for name in opens(tree)
    }

    assert not (found := found ^ OPENS.keys()), _lines(found)


def modules_of_tests() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of each module of the tests."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def test_no_test_module_is_imported() -> None:
    """Code that two test modules need is in a module of its own. Code in strings, for other processes, counts too."""
    importing = re.compile(r"\b(from|import) tests\.[\w.]*\btest_\w+|\bfrom tests\.?[\w.]* import .*\btest_\w+")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if importing.search(line)
    ]

    assert not found, _lines(found)


def test_only_the_polling_function_sleeps() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules_of_tests()
        if path != "tests/polling.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) == "sleep"
    ]

    assert not found, _lines(found)


def test_every_module_says_what_it_is_for() -> None:
    assert [path for path, tree in modules() if not ast.get_docstring(tree)] == []


def test_modules_are_named_after_what_they_are_about() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}

    assert [path for path in tracked() if path.suffix == ".py" and path.stem in vague] == []


def test_no_two_classes_of_the_product_share_a_name() -> None:
    counts = Counter(
        node.name for _, tree in modules() for node in ast.iter_child_nodes(tree) if isinstance(node, ast.ClassDef)
    )

    assert [name for name, count in counts.items() if count > 1] == []


def test_every_silenced_checker_says_which_rule_and_why() -> None:
    bare = re.compile(
        r"#\s*noq[a](?!: [A-Z]+\d+(, [A-Z]+\d+)*  ?\S)|#\s*type: ignor[e](?!\[[\w, -]+\]  ?# \S)|pragma: no cove[r](?!  ?\S)"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if bare.search(line)
    ]

    assert not found, _lines(found)


def test_a_group_of_tests_stays_on_one_worker(request: pytest.FixtureRequest) -> None:
    """Otherwise two workers would build the image and wait for each other (pytest-xdist's issue 1386)."""
    if not getattr(request.config.option, "loadgroup", False):
        return  # not in a worker

    assert request.node.nodeid.endswith("@house")
