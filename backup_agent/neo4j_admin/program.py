"""Finds neo4j-admin, its version, and the way to start it.

The script starts two JVMs, of which the first only waits. Calling the class directly takes one JVM and half the memory,
with the same output and exit codes. The jars show whether this is possible, without starting anything: they contain the
class, the Java version for which it was compiled, and in the kernel's manifest the version that `--version` prints.
"""

import os
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backup_agent import durable
from backup_agent.core.capabilities import Version
from backup_agent.core.neo4j.command import ADMIN_CLASS, Launch, Memory, direct_argv, jvm_flags
from backup_agent.core.reasons import Failure, PermanentError, Reason
from backup_agent.neo4j_admin import process

NAME = "neo4j-admin"

_CLASS_FILE = ADMIN_CLASS.replace(".", "/") + ".class"
_MANIFEST_VERSION = re.compile(r"^Implementation-Version:\s*(.+?)\s*$", re.MULTILINE)
# `release` of a JDK: JAVA_VERSION="17.0.15"; `java -version`: openjdk version "17.0.15" 2025-04-15
_JAVA_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(\d+)')
_CLASS_FILE_OF_JAVA_0 = 44  # the class file version of Java n is 44 + n

_VERSION_TIMEOUT = timedelta(minutes=3)  # two JVMs take 4 s of a core, and a pod may have a tenth of a core


@dataclass(frozen=True)
class AdminProgram:
    """One way to start neo4j-admin: a script (or the program of `neo4j.admin`), or java with the class."""

    launch: Launch
    path: str
    home: str | None = None
    """NEO4J_HOME to set; None leaves it to the script."""
    java: int = 0
    """Major version of Java. Set only for a direct start."""
    version: Version | None = None
    """The version, if it is known without running the program."""

    def argv(self, memory: Memory) -> tuple[str, ...]:
        """Return the beginning of the command line, up to the command of neo4j-admin."""
        if self.launch is Launch.SCRIPT or self.home is None:
            return (self.path,)
        return direct_argv(self.path, self.home, jvm_flags(memory, self.java))


def find(admin: Path | None, launch: Launch, environ: Mapping[str, str]) -> tuple[AdminProgram, ...]:
    """Return the ways to start neo4j-admin, in the order to try.

    If `admin` (settings: neo4j.admin) is set, that program is the only way, whatever `launch` is. Otherwise look for
    neo4j-admin in $NEO4J_HOME, then in PATH. Raise PermanentError (admin_missing), which names these places, or
    (java_unsupported) if only a direct start is wanted and Java is too old.
    """
    given = home = str(Path(environ["NEO4J_HOME"]).absolute()) if environ.get("NEO4J_HOME") else None
    if admin is not None:
        fault = _fault(admin)
        if fault:
            raise PermanentError(Reason.ADMIN_MISSING, f"neo4j.admin: {admin}: {fault}")
        return (AdminProgram(Launch.SCRIPT, str(admin.absolute()), given),)

    script, places = _script(home, environ)
    if home is None and script is not None:
        home = str(script.resolve().parent.parent)
    version = _kernel_version(Path(home, "lib")) if home is not None else None
    scripts = () if script is None else (AdminProgram(Launch.SCRIPT, str(script.absolute()), given, version=version),)
    if launch is Launch.SCRIPT:
        return scripts or _not_found(places)
    direct = _direct(home, environ)
    if isinstance(direct, AdminProgram):
        return (direct,) if launch is Launch.DIRECT else (direct, *scripts)
    if launch is Launch.DIRECT:
        raise PermanentError(direct.reason, f"neo4j.launch is direct, but {direct.error}")
    return scripts or _not_found((*places, direct.error))


def version(program: AdminProgram, *, env: Mapping[str, str], cwd: Path, cancel: threading.Event) -> Version | None:
    """Return the program's version, by running it if needed. Return None if the program prints no version.

    Raise PermanentError (admin_missing) if the program cannot be started.
    """
    if program.version is not None:
        return program.version
    argv = (*program.argv(Memory(None, None)), "--version")
    completed = process.run(argv, env=env, cwd=cwd, timeout=_VERSION_TIMEOUT, cancel=cancel)
    return Version.parse("\n".join(completed.last_lines))


def _not_found(places: tuple[str, ...]) -> tuple[AdminProgram, ...]:
    raise PermanentError(Reason.ADMIN_MISSING, f"{NAME} is not found: {'; '.join(dict.fromkeys(places))}")


def _script(home: str | None, environ: Mapping[str, str]) -> tuple[Path | None, tuple[str, ...]]:
    """Return the script, or None and the places where it was not found."""
    places = []
    if home is None:
        places.append("NEO4J_HOME is not set")
    else:
        script = Path(home, "bin", NAME)
        fault = _fault(script)
        if not fault:
            return script, ()
        places.append(f"{script}: {fault}")
    path = environ.get("PATH", os.defpath)
    found = shutil.which(NAME, path=path)
    return (Path(found), ()) if found else (None, (*places, f"it is not in PATH ({path})"))


def _fault(program: Path) -> str | None:
    if not program.exists():
        return "does not exist"
    if not program.is_file():
        return "is not a file"
    return None if os.access(program, os.X_OK) else "is not executable"


def _direct(home: str | None, environ: Mapping[str, str]) -> AdminProgram | Failure:
    """Return the direct start of the installation in `home`, or the reason why it is not possible."""
    if home is None:
        return _missing("NEO4J_HOME is not set")
    library = Path(home, "lib")
    if os.pathsep in home:
        return _missing(f"{library} cannot be on a class path")
    needed = next(filter(None, map(_java_of_class, _jars(library))), None)
    if needed is None:
        return _missing(f"no jar in {library} contains {ADMIN_CLASS}")
    java = _java(environ)
    if java is None:
        return _missing(f"java was not found in JAVA_HOME ({environ.get('JAVA_HOME', 'not set')}) or PATH")
    major = _java_version(java, environ)
    if major < needed:
        text = f"{java} is Java {major or 'of an unknown version'}, and {library} needs {needed}"
        return Failure(Reason.JAVA_UNSUPPORTED, text)
    return AdminProgram(Launch.DIRECT, str(java.absolute()), home, major, _kernel_version(library))


def _missing(text: str) -> Failure:
    return Failure(Reason.ADMIN_MISSING, text)


def _jars(library: Path) -> Iterator[Path]:
    """Yield the jars. There are about 200; the one that contains the class in all known versions comes first."""
    jars = sorted(library.glob("*.jar"))
    yield from sorted(jars, key=lambda jar: not jar.name.startswith("neo4j-command-line-"))


def _java_of_class(jar: Path) -> int | None:
    """Return the version of Java for which the class in a jar was compiled, or None if the jar has no such class."""
    try:
        with zipfile.ZipFile(jar) as archive, archive.open(_CLASS_FILE) as content:
            head = content.read(8)  # big-endian: magic (4 bytes), minor version (2), major version (2)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    return int.from_bytes(head[6:8], "big") - _CLASS_FILE_OF_JAVA_0


def _kernel_version(library: Path) -> Version | None:
    for jar in library.glob("neo4j-kernel-[0-9]*.jar"):  # and not neo4j-kernel-api-…
        try:
            with zipfile.ZipFile(jar) as archive:
                manifest = archive.read("META-INF/MANIFEST.MF").decode(errors="replace")
        except (OSError, KeyError, zipfile.BadZipFile):
            continue
        if found := _MANIFEST_VERSION.search(manifest):
            return Version.parse(found[1])
    return None


def _java(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the Java that the script would use, or None if none is found."""
    home = environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else environ.get("PATH", os.defpath))
    return Path(found) if found else None


def _java_version(java: Path, environ: Mapping[str, str]) -> int:
    """Return the major version of java, from the JDK's `release` file or `java -version`; 0 if it is unknown."""
    try:
        text = durable.read(java.resolve().parent.parent / "release").decode(errors="replace")
    except OSError:
        env = {"PATH": environ.get("PATH", os.defpath)}
        asked = process.run(
            (str(java), "-version"), env=env, cwd=java.parent, timeout=_VERSION_TIMEOUT, cancel=threading.Event()
        )
        text = "\n".join(asked.last_lines)
    found = _JAVA_VERSION.search(text)
    return int(found[1]) if found else 0
