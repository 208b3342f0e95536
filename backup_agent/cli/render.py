"""`backup-agent render`."""

from pathlib import Path
from typing import Any, BinaryIO

import click

from backup_agent import durable
from backup_agent.cli import printing
from backup_agent.core.escaping import shell_word
from backup_agent.k8s import manifests
from backup_agent.k8s.names import server_name
from backup_agent.k8s.notes import notes
from backup_agent.k8s.reading import read
from backup_agent.k8s.spec import ClusterSpec
from backup_agent.settings.yaml_reader import YamlError, read_yaml

KUSTOMIZATION = "Kustomization"


@click.command()
@click.argument("spec", type=click.File("rb"))
@click.option("--out", default="-", help="A folder to write the objects into, or - for one text on stdout.")
@click.option(
    "--running", type=click.IntRange(min=1), help="How many servers run now, where the folder does not tell it."
)
@click.option("--json", "as_json", is_flag=True, help="Print the objects as JSON, a List.")
def command(spec: BinaryIO, out: str, running: int | None, as_json: bool) -> int:
    """Print the Kubernetes objects of a cluster and its backup agent, from its spec.

    What is left to do by hand is said on stderr. A folder gets a file for each object, and a Kustomization.
    """
    found = read(spec.read(durable.LIMIT + 1), spec.name)
    if out == "-":
        said = notes(found, running)
        if as_json:
            printing.as_json({"apiVersion": "v1", "kind": "List", "items": manifests.objects(found)})
        else:
            printing.document(manifests.stream(found))
    else:
        folder = Path(out)
        said = [
            *notes(found, running or _running(folder, found)),
            *_write(folder, manifests.files(found), found.namespace),
        ]
        if as_json:
            printing.as_json({"folder": out, "files": sorted(manifests.files(found))})
    for note in said:
        printing.block(f"NOTE: {note}", err=True)
    return 0


def _running(folder: Path, spec: ClusterSpec) -> int | None:
    """Return how many servers the objects in the folder ask for."""
    standing = _standing(folder / f"statefulset-{server_name(spec)}.yaml").get("spec")
    replicas = standing.get("replicas") if isinstance(standing, dict) else None
    return replicas if isinstance(replicas, int) else None


def _write(folder: Path, files: dict[str, str], namespace: str) -> list[str]:
    """Write the files; take away, and tell of, those that an earlier rendering listed and this one has not."""
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for name in _listed(folder):
        if name not in files and (folder / name).is_file():
            kind, _, rest = name.removesuffix(".yaml").partition("-")
            (folder / name).unlink()
            told = f"kubectl delete -n {shell_word(namespace)} {shell_word(kind)} {shell_word(rest)}"
            said.append(f"{name} is no longer rendered; if it was applied: {told}")
    for name, text in files.items():
        durable.write(folder / name, text.encode(), sync=False)
    return said


def _listed(folder: Path) -> list[str]:
    listed = _standing(folder / KUSTOMIZATION).get("resources")
    return [name for name in listed if Path(str(name)).name == name] if isinstance(listed, list) else []


def _standing(path: Path) -> dict[str, Any]:
    """Return a file that may have been rendered earlier; nothing where it is none."""
    try:
        found = read_yaml(durable.read(path, follow=True))
    except (FileNotFoundError, YamlError):
        return {}
    return found if isinstance(found, dict) else {}
