import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.core.capabilities import Version
from backup_agent.core.neo4j.command import MIB, Launch, Memory, environment
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.neo4j_admin.program import AdminProgram, find, version

SMALL = Memory(64 * MIB, 8 * MIB)


def executable(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def jar(path: Path, **members: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


class Machine:
    """A home of Neo4j and a home of Java, with small programs in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "neo4j"
        self.script = executable(self.home / "bin/neo4j-admin", "echo 5.26.31")
        self.java = executable(folder / "jdk/bin/java", "echo 'openjdk version \"21.0.8\" 2025-07-15' >&2")
        self.release('JAVA_VERSION="21.0.8"')
        self.classes()
        jar(
            self.home / "lib/neo4j-kernel-2026.09.0.jar",
            **{"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nImplementation-Version: 2026.09.0\r\n\r\n"},
        )
        jar(self.home / "lib/neo4j-kernel-api-2026.09.0.jar", **{"META-INF/MANIFEST.MF": b""})

    def release(self, text: str | None) -> None:
        file = self.folder / "jdk/release"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(f'IMPLEMENTOR="Someone"\n{text}\n')

    def classes(self, name: str = "neo4j-command-line-2026.09.0.jar", *, java: int = 21) -> None:
        for old in (self.home / "lib").glob("neo4j-command-line-*"):
            old.unlink()
        head = b"\xca\xfe\xba\xbe\0\0" + (44 + java).to_bytes(2, "big") + b"rest of it"
        jar(self.home / "lib" / name, **{"org/neo4j/cli/AdminTool.class": head})

    def environ(self, **changes: str) -> dict[str, str]:
        return {
            "NEO4J_HOME": str(self.home),
            "JAVA_HOME": str(self.folder / "jdk"),
            "PATH": str(self.folder / "nothing"),
        } | changes


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_one_jvm_is_tried_before_the_script(machine: Machine) -> None:
    direct, script = find(None, Launch.AUTO, machine.environ())

    assert direct == AdminProgram(Launch.DIRECT, str(machine.java), str(machine.home), 21, Version(2026, 9))
    assert direct.argv(SMALL)[0] == str(machine.java)
    assert direct.argv(SMALL)[-3:] == ("-cp", f"{machine.home}/lib/*", "org.neo4j.cli.AdminTool")
    assert "-Xmx64m" in direct.argv(SMALL)
    assert script == AdminProgram(Launch.SCRIPT, str(machine.script), str(machine.home), version=Version(2026, 9))
    assert script.argv(SMALL) == (str(machine.script),)


def test_the_settings_may_choose_one_way_to_start(machine: Machine) -> None:
    assert [program.launch for program in find(None, Launch.DIRECT, machine.environ())] == [Launch.DIRECT]
    assert [program.launch for program in find(None, Launch.SCRIPT, machine.environ())] == [Launch.SCRIPT]


def test_a_path_in_the_settings_is_used_unchanged(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = executable(tmp_path / "own/admin")
    monkeypatch.chdir(tmp_path)

    for launch in Launch:
        assert find(own, launch, machine.environ()) == (AdminProgram(Launch.SCRIPT, str(own), str(machine.home)),)
    assert find(Path("own/admin"), Launch.AUTO, {}) == (AdminProgram(Launch.SCRIPT, str(own)),)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.chmod(0o644), "is not executable"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
    ],
    ids=["absent", "mode", "folder"],
)
def test_a_path_in_settings_that_cannot_run_is_refused(
    machine: Machine, spoil: Callable[[Path], object], fault: str
) -> None:
    spoil(machine.script)

    with pytest.raises(PermanentError) as missing:
        find(machine.script, Launch.AUTO, machine.environ())

    assert missing.value.failure.reason is Reason.ADMIN_MISSING
    assert missing.value.failure.error == f"neo4j.admin: {machine.script}: {fault}"


def test_without_a_home_the_script_on_the_path_is_in_it(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin/neo4j-admin"
    link.symlink_to(machine.script)
    environ = {"PATH": str(link.parent), "JAVA_HOME": str(tmp_path / "jdk")}

    direct, script = find(None, Launch.AUTO, environ)

    assert (direct.launch, direct.home) == (Launch.DIRECT, str(machine.home))
    assert script == AdminProgram(Launch.SCRIPT, str(link), None, version=Version(2026, 9))


def test_without_java_home_java_is_found_on_the_path(machine: Machine) -> None:
    environ = machine.environ(PATH=str(machine.java.parent))
    del environ["JAVA_HOME"]

    assert find(None, Launch.DIRECT, environ)[0].path == str(machine.java)


def test_the_class_is_found_in_any_jar(machine: Machine) -> None:
    machine.classes("other.jar")
    (machine.home / "lib/broken.jar").write_bytes(b"no zip")

    assert find(None, Launch.DIRECT, machine.environ())[0].launch is Launch.DIRECT


def test_without_a_release_file_java_is_asked_for_its_version(machine: Machine) -> None:
    machine.release(None)

    assert find(None, Launch.DIRECT, machine.environ())[0].java == 21


def test_without_a_manifest_the_version_is_unknown(machine: Machine) -> None:
    jar(machine.home / "lib/neo4j-kernel-2026.09.0.jar")

    assert find(None, Launch.DIRECT, machine.environ())[0].version is None


@pytest.mark.parametrize(
    ("spoil", "reason", "why"),
    [
        (
            lambda it: (it.home / "lib/neo4j-command-line-2026.09.0.jar").unlink(),
            Reason.ADMIN_MISSING,
            r"no jar in \S+/lib contains org\.neo4j",
        ),
        (
            lambda it: it.release('JAVA_VERSION="17.0.15"'),
            Reason.JAVA_UNSUPPORTED,
            r"is Java 17, and \S+/lib needs 21",
        ),
        (lambda it: it.release("nothing of it"), Reason.JAVA_UNSUPPORTED, r"is Java of an unknown version, and"),
        (lambda it: it.java.unlink(), Reason.ADMIN_MISSING, r"java was not found in JAVA_HOME \(\S+/jdk\) or PATH"),
    ],
    ids=["no class", "old java", "unknown java", "no java"],
)
def test_if_one_jvm_is_not_possible_the_script_is_used(
    machine: Machine, spoil: Callable[[Machine], object], reason: Reason, why: str
) -> None:
    spoil(machine)

    assert [program.launch for program in find(None, Launch.AUTO, machine.environ())] == [Launch.SCRIPT]
    with pytest.raises(PermanentError, match=why) as refused:
        find(None, Launch.DIRECT, machine.environ())
    assert refused.value.failure.reason is reason


def test_a_home_whose_path_cannot_be_in_a_class_path_is_not_started_directly(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a:b")

    assert [program.launch for program in find(None, Launch.AUTO, machine.environ())] == [Launch.SCRIPT]


@pytest.mark.parametrize("launch", [Launch.AUTO, Launch.SCRIPT])
def test_the_error_of_a_missing_program_names_the_places_searched(tmp_path: Path, launch: Launch) -> None:
    with pytest.raises(PermanentError) as missing:
        find(None, launch, {"NEO4J_HOME": str(tmp_path), "PATH": "/nowhere"})

    assert missing.value.failure.reason is Reason.ADMIN_MISSING
    assert f"{tmp_path}/bin/neo4j-admin: does not exist; it is not in PATH (/nowhere)" in missing.value.failure.error


def test_without_any_setting_the_hint_names_the_variables_to_set() -> None:
    with pytest.raises(PermanentError, match="NEO4J_HOME is not set") as missing:
        find(None, Launch.AUTO, {"PATH": "/nowhere"})

    assert "neo4j.admin" in missing.value.failure.advice


def ask(program: AdminProgram, folder: Path) -> Version | None:
    env = environment({"PATH": "/usr/bin:/bin"}, conf=str(folder), home=program.home)
    return version(program, env=env, cwd=folder, cancel=threading.Event())


def test_a_script_is_asked_for_its_version(machine: Machine, tmp_path: Path) -> None:
    assert ask(AdminProgram(Launch.SCRIPT, str(machine.script)), tmp_path) == Version(5, 26, 31)


def test_a_version_known_from_the_jars_is_not_asked_for(machine: Machine, tmp_path: Path) -> None:
    (direct,) = find(None, Launch.DIRECT, machine.environ())
    machine.java.unlink()

    assert ask(direct, tmp_path) == Version(2026, 9)


@pytest.mark.parametrize("script", ["exit 64", "echo usage; exit 1", "kill -9 $$"])
def test_a_program_that_does_not_print_its_version_has_an_unknown_version(tmp_path: Path, script: str) -> None:
    program = executable(tmp_path / "neo4j-admin", script)

    assert ask(AdminProgram(Launch.SCRIPT, str(program)), tmp_path) is None


def test_a_program_that_was_removed_since_is_missing(machine: Machine, tmp_path: Path) -> None:
    machine.script.unlink()

    with pytest.raises(PermanentError) as missing:
        ask(AdminProgram(Launch.SCRIPT, str(machine.script)), tmp_path)

    assert missing.value.failure.reason is Reason.ADMIN_MISSING
