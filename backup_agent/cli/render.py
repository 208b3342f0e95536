"""`backup-agent render`."""

from pathlib import Path
from typing import Any, BinaryIO

import click

from backup_agent import durable
from backup_agent.cli import printing
from backup_agent.cli.help import DONE, MISUSED, REFUSED, WARNED, DocumentedCommand
from backup_agent.core.escaping import shell_word
from backup_agent.k8s import manifests
from backup_agent.k8s.alone import Spec
from backup_agent.k8s.changes import Changes, compare, servers_of
from backup_agent.k8s.names import Object
from backup_agent.k8s.notes import notes
from backup_agent.k8s.reading import read
from backup_agent.settings.yaml_reader import YamlError, read_yaml

KUSTOMIZATION = "Kustomization"
RUNNING = "servers.running"
"""File beside the objects with the number of servers that still run, until `--running` says that they are gone."""


@click.command(
    cls=DocumentedCommand,
    examples=("backup-agent render k8s/spec.yaml --out k8s/demo",),
    exits={
        DONE: "rendered",
        MISUSED: "wrong usage, or faults in the spec",
        WARNED: "with --fail-on-restart: nothing is written, because a pod would restart",
        REFUSED: "an older version of Neo4j than before; nothing is written",
    },
)
@click.argument("spec", type=click.File("rb"))
@click.option("--out", default="-", help="A folder for one file per object, or - for one text on stdout.")
@click.option(
    "--running", type=click.IntRange(min=1), metavar="N", help="Number of servers that run now; else what --out has."
)
@click.option("--fail-on-restart", is_flag=True, help="Write nothing and exit with 3 if a pod would restart.")
@click.option("--allow-older", is_flag=True, help="Render an older version of Neo4j than before.")
@click.option("--json", "as_json", is_flag=True, help="Print the objects as a JSON List, or the changes of --out.")
def command(
    spec: BinaryIO, out: str, running: int | None, *, fail_on_restart: bool, allow_older: bool, as_json: bool
) -> int:
    """Print the Kubernetes objects of a cluster and its agent, from its spec.

    Steps to take by hand are listed on stderr. A folder gets one file per object, and a Kustomization. If it has an
    earlier rendering, what the change does is listed too: which pods restart, and what Kubernetes does not allow.
    """
    found = read(spec.read(durable.LIMIT + 1), spec.name)
    if out == "-":
        _print_objects(found, as_json=as_json)
        _print_notes(notes(found, running))
        return 0
    folder = Path(out)
    before = _objects(folder)
    changes = compare(before, manifests.objects(found))
    if changes.older and not allow_older:
        printing.block(f"REFUSED: {changes.older}", err=True)
        return REFUSED
    if running is None:
        running = max(_recorded(folder), servers_of(before) or 0) or None
    steps = [*changes.steps, *notes(found, running)]
    stopped = fail_on_restart and bool(changes.restarts)
    if not stopped:
        steps += _write(folder, manifests.files(found), found.namespace, moved=changes.moved)
        _record(folder, running, servers_of(manifests.objects(found)))
    if as_json:
        _print_changes(out, found, changes, steps)
    _print_restarts(changes, before)
    _print_notes(steps)
    return WARNED if stopped else 0


def _print_objects(spec: Spec, *, as_json: bool) -> None:
    if as_json:
        printing.as_json({"apiVersion": "v1", "kind": "List", "items": manifests.objects(spec)})
    else:
        printing.document(manifests.stream(spec))


def _print_changes(out: str, spec: Spec, changes: Changes, steps: list[str]) -> None:
    restarts = [{"pods": list(one.pods), "reasons": list(one.reasons)} for one in changes.restarts]
    files = sorted(manifests.files(spec))
    printing.as_json({"folder": out, "files": files, "restarts": restarts, "notes": steps})


def _print_restarts(changes: Changes, before: list[Object]) -> None:
    for restart in changes.restarts:
        printing.block(f"RESTART: {restart}", err=True)
    if before and not changes.restarts and not changes.moved:
        printing.block("RESTART: no pod", err=True)


def _print_notes(steps: list[str]) -> None:
    for note in steps:
        printing.block(f"NOTE: {note}", err=True)


def _objects(folder: Path) -> list[Object]:
    """Return the objects of an earlier rendering."""
    found = [_rendered(folder / name) for name in _listed(folder)]
    return [one for one in found if isinstance(one.get("kind"), str) and _name(one)]


def _name(one: Object) -> str | None:
    metadata = one.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None


def _recorded(folder: Path) -> int:
    """Return the number of servers that still ran at an earlier rendering, or 0."""
    try:
        text = durable.read(folder / RUNNING, follow=True).strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() and len(text) < 4 else 0  # noqa: PLR2004  a spec has at most 100 servers


def _record(folder: Path, running: int | None, wanted: int | None) -> None:
    """Note how many servers still run if there are more than wanted, so that the steps are printed again."""
    if running and wanted and running > wanted:
        durable.write(folder / RUNNING, f"{running}\n".encode(), sync=False)
    else:
        (folder / RUNNING).unlink(missing_ok=True)


def _write(folder: Path, files: dict[str, str], namespace: str, *, moved: bool) -> list[str]:
    """Write the files. Remove files of an earlier rendering that are not among them, and return a note for each.

    The objects of another cluster (`moved`) are no left-overs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    removed = []
    for name in _listed(folder):
        if name not in files and (folder / name).is_file():
            kind, _, rest = name.removesuffix(".yaml").partition("-")
            (folder / name).unlink()
            delete = f"kubectl delete -n {shell_word(namespace)} {shell_word(kind)} {shell_word(rest)}"
            ends = " (this ends its pods, and keeps its claims)" if kind == "statefulset" else ""
            removed.append(f"{name} is no longer rendered; if it was applied: {delete}{ends}")
    for name, text in files.items():
        durable.write(folder / name, text.encode(), sync=False)
    return [] if moved else removed


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
