"""`backup-agent render`."""

from pathlib import Path
from typing import Any, BinaryIO

import click

from backup_agent import durable
from backup_agent.cli import printing
from backup_agent.core.escaping import shell_word
from backup_agent.k8s import manifests
from backup_agent.k8s.alone import Spec
from backup_agent.k8s.names import server_name
from backup_agent.k8s.notes import notes
from backup_agent.k8s.reading import read
from backup_agent.settings.yaml_reader import YamlError, read_yaml

KUSTOMIZATION = "Kustomization"


@click.command()
@click.argument("spec", type=click.File("rb"))
@click.option("--out", default="-", help="A folder for one file per object, or - for one text on stdout.")
@click.option(
    "--running", type=click.IntRange(min=1), help="Number of servers that run now, if --out has no earlier objects."
)
@click.option("--json", "as_json", is_flag=True, help="Print the objects as a JSON List.")
def command(spec: BinaryIO, out: str, running: int | None, as_json: bool) -> int:
    """Print the Kubernetes objects of a cluster and its agent, from its spec.

    Steps to take by hand are listed on stderr. A folder gets one file per object, and a Kustomization.
    """
    found = read(spec.read(durable.LIMIT + 1), spec.name)
    if out == "-":
        steps = notes(found, running)
        if as_json:
            printing.as_json({"apiVersion": "v1", "kind": "List", "items": manifests.objects(found)})
        else:
            printing.document(manifests.stream(found))
    else:
        folder = Path(out)
        steps = [
            *notes(found, running or _running(folder, found)),
            *_write(folder, manifests.files(found), found.namespace),
        ]
        if as_json:
            printing.as_json({"folder": out, "files": sorted(manifests.files(found))})
    for note in steps:
        printing.block(f"NOTE: {note}", err=True)
    return 0


def _running(folder: Path, spec: Spec) -> int | None:
    """Return the number of servers in the StatefulSet of an earlier rendering, or None."""
    stateful_set = _rendered(folder / f"statefulset-{server_name(spec)}.yaml").get("spec")
    replicas = stateful_set.get("replicas") if isinstance(stateful_set, dict) else None
    return replicas if isinstance(replicas, int) else None


def _write(folder: Path, files: dict[str, str], namespace: str) -> list[str]:
    """Write the files. Remove files of an earlier rendering that are not among them, and return a note for each."""
    folder.mkdir(parents=True, exist_ok=True)
    removed = []
    for name in _listed(folder):
        if name not in files and (folder / name).is_file():
            kind, _, rest = name.removesuffix(".yaml").partition("-")
            (folder / name).unlink()
            delete = f"kubectl delete -n {shell_word(namespace)} {shell_word(kind)} {shell_word(rest)}"
            removed.append(f"{name} is no longer rendered; if it was applied: {delete}")
    for name, text in files.items():
        durable.write(folder / name, text.encode(), sync=False)
    return removed


def _listed(folder: Path) -> list[str]:
    """Return the names of the files that the Kustomization of an earlier rendering lists."""
    listed = _rendered(folder / KUSTOMIZATION).get("resources")
    return [name for name in listed if Path(str(name)).name == name] if isinstance(listed, list) else []


def _rendered(path: Path) -> dict[str, Any]:
    """Return the content of an earlier rendered file, or {} if the file does not exist or is not a mapping."""
    try:
        found = read_yaml(durable.read(path, follow=True))
    except (FileNotFoundError, YamlError):
        return {}
    return found if isinstance(found, dict) else {}
