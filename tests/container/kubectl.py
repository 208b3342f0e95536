"""A stand-in for kubectl on podman: it knows the rendered objects, plays their pods, and enters the named container.

`Cluster.install` writes the executable. Only the commands that plans and pages print are known; all others fail. As in
Kubernetes, a command that is executed starts in the container's working directory; HOME is not set. Claims outlive their
pods. A second `kubectl` at the same time, as in a pipe, only executes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.container.kube import pod_of

ENTER = 'PATH=/recorders:$PATH exec "$@"'
"""Script that puts the recorders of a test first on PATH."""


class RefusedError(Exception):
    """The stand-in does not know the command, or the command names an object that does not exist."""


@dataclass
class Workload:
    """A StatefulSet, its earlier version, and what only the test adds to its pods."""

    image: str
    stateful_set: dict[str, Any] | None = None
    earlier: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)


@dataclass
class Cluster:
    """The objects of the cluster, and how podman is run. Stored as JSON in a folder."""

    folder: str
    podman: list[str]
    variables: dict[str, str]
    """Environment of podman."""
    workloads: dict[str, Workload]
    """By the name of the StatefulSet."""
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """The data of ConfigMaps and Secrets."""

    @classmethod
    def load(cls, folder: Path) -> "Cluster":
        found = json.loads((folder / "cluster.json").read_bytes())
        found["workloads"] = {name: Workload(**one) for name, one in found["workloads"].items()}
        return cls(**found)

    def save(self) -> None:
        Path(self.folder, "cluster.json").write_text(json.dumps(asdict(self)))

    def install(self, program: Path) -> None:
        """Write an executable `kubectl` for this cluster."""
        self.save()
        root = Path(__file__).parents[2]
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m tests.container.kubectl {self.folder} "$@"\n'
        )
        program.chmod(0o755)

    # The commands.

    def apply(self, objects: Sequence[Mapping[str, Any]], playing: int | None = None) -> None:
        """Store rendered objects, and play the pods of the StatefulSets, at first at most `playing` pods of each."""
        for one in objects:
            if one["kind"] == "ConfigMap":
                self.files[one["metadata"]["name"]] = one["data"]
        for one in objects:
            if one["kind"] == "StatefulSet":
                self.workload(one["metadata"]["name"]).stateful_set = dict(one)
                self._play(one["metadata"]["name"], min(one["spec"]["replicas"], playing or 99))
        self.save()

    def workload(self, name: str) -> Workload:
        if name not in self.workloads:
            raise RefusedError(f'statefulsets.apps "{name}" not found')
        return self.workloads[name]

    def stateful_set(self, name: str) -> dict[str, Any]:
        found = self.workload(name).stateful_set
        if found is None:
            raise RefusedError(f'statefulsets.apps "{name}" not found')
        return found

    def scale(self, name: str, replicas: int) -> None:
        """End all pods of a StatefulSet, and start as many as wanted."""
        stateful_set = self.stateful_set(name)
        pods = [f"{name}-{number}" for number in range(max(replicas, stateful_set["spec"]["replicas"]))]
        self._podman("pod", "rm", "--force", "--ignore", *pods)
        volumes = [one["name"] for one in stateful_set["spec"]["template"]["spec"]["volumes"] if "emptyDir" in one]
        for volume in (f"{pod}-{volume}" for pod in pods for volume in volumes):
            self._podman("volume", "rm", "--force", volume, check=False)
        stateful_set["spec"]["replicas"] = replicas
        self._play(name, replicas)
        self.save()

    def _play(self, name: str, pods: int) -> None:
        """Start the first pods of a StatefulSet. Claims that exist are bound again."""
        workload = self.workload(name)
        documents = {
            (document["kind"], document["metadata"]["name"]): document
            for number in range(pods)
            for document in pod_of(
                self.stateful_set(name),
                workload.image,
                self.files,
                environment=workload.environment,
                folders=workload.folders,
                number=number,
            )
        }
        kinds = ("ConfigMap", "PersistentVolumeClaim", "Pod")
        found = [
            document
            for (kind, named), document in sorted(documents.items(), key=lambda item: kinds.index(item[0][0]))
            if kind != "PersistentVolumeClaim" or self._podman("volume", "exists", named, check=False) != 0
        ]
        if pods:
            file = Path(self.folder, f"{name}.yaml")
            file.write_text(yaml.safe_dump_all(found))
            self._podman("play", "kube", "--network=host", str(file))

    def patch(self, name: str, change: Mapping[str, Any]) -> None:
        """Change the template of a StatefulSet."""
        workload, before = self.workload(name), self.stateful_set(name)
        workload.earlier = before["spec"]["template"]
        workload.stateful_set = merged(before, change)
        self.save()

    def undo(self, name: str) -> None:
        """Go back to the template before the last change."""
        workload, template = self.workload(name), self.stateful_set(name)["spec"]["template"]
        if workload.earlier is None:
            raise RefusedError("no rollout history found")
        self.stateful_set(name)["spec"]["template"], workload.earlier = workload.earlier, template
        self.save()

    def create_secret(self, name: str, options: Sequence[tuple[str, str]]) -> None:
        """Create a Secret of texts (--from-literal) and files (--from-file)."""
        found = {}
        for option, text in options:
            key, _, value = text.partition("=")
            if option == "--from-literal":
                found[key] = value
            elif option == "--from-file":
                found[key] = Path(value).read_text()
        self.files[name] = found
        self.save()

    def check(self, name: str) -> None:
        """Raise RefusedError unless all pods of a StatefulSet exist."""
        for number in range(self.stateful_set(name)["spec"]["replicas"]):
            if not self.exists(f"{name}-{number}"):
                raise RefusedError(f"pod {name}-{number} is missing")

    def first_container(self, pod: str) -> str:
        """Return the container that is entered if none is named."""
        template = self.stateful_set(pod.rpartition("-")[0])["spec"]["template"]
        return str(template["spec"]["containers"][0]["name"])

    def exists(self, pod: str) -> bool:
        return self._podman("pod", "exists", pod, check=False) == 0

    def enter(self, pod: str, container: str, words: Sequence[str], *, interactive: bool) -> None:
        """Become `podman exec`."""
        recorders = ["sh", "-c", ENTER, "sh"] if os.environ.get("RECORDERS") else []
        options = ["--interactive"] if interactive else []
        command = [*self.podman, "exec", *options, f"{pod}-{container}", "env", "-u", "HOME", *recorders, *words]
        os.execvpe(command[0], command, self.variables)

    def _podman(self, *words: str, check: bool = True) -> int:
        completed = subprocess.run(
            [*self.podman, *words], check=False, env=self.variables, capture_output=True, text=True
        )
        if check and completed.returncode != 0:
            raise RefusedError(completed.stdout + completed.stderr)
        return completed.returncode


def merged(before: Any, change: Any) -> Any:
    """Return a value with a strategic merge patch: objects by key, containers by name; null removes a key."""
    if isinstance(before, dict) and isinstance(change, dict):
        both = {**before, **{key: merged(before.get(key), value) for key, value in change.items()}}
        return {key: value for key, value in both.items() if value is not None}
    if isinstance(before, list) and all(isinstance(one, dict) and "name" in one for one in (*before, *change)):
        changes = {one["name"]: one for one in change}
        return [merged(one, changes[one["name"]]) if one["name"] in changes else one for one in before]
    return change


@dataclass(frozen=True)
class Arguments:
    """The words of a command, its options, and the command to execute after `--`."""

    words: list[str]
    options: dict[str, str]
    repeated: list[tuple[str, str]]
    """All options with a value after `=`, in order."""
    command: list[str]

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Arguments":
        end = list(argv).index("--") if "--" in argv else len(argv)
        words, options, rest = [], {}, list(argv[:end])
        repeated = []
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word in ("-n", "-c", "-p", "-k", "-f"):
                options[word] = rest.pop(0)
            elif word.startswith("-"):
                options[name] = value if equals else ""
                repeated += [(name, value)] if equals else []
            else:
                words.append(word)
        return cls(words, options, repeated, list(argv[end + 1 :]))


READY = "jsonpath={.status.readyReplicas}="


def roll_out(cluster: Cluster, words: Sequence[str]) -> None:
    """Run `kubectl rollout`. Raise RefusedError if it cannot be done."""
    match words:
        case ["status", "statefulset", name]:
            cluster.check(name)
        case ["status", *names] if all(name.startswith("statefulset/") for name in names):
            for name in names:
                cluster.check(name.removeprefix("statefulset/"))
        case ["undo", "statefulset", name]:
            cluster.undo(name)
        case _:
            raise RefusedError(f"unknown command: rollout {words}")


def run(cluster: Cluster, given: Arguments) -> None:
    """Run one command. Raise RefusedError if it cannot be done."""
    options = given.options
    for one in cluster.workloads.values():
        if one.stateful_set and options.get("-n", "default") != one.stateful_set["metadata"]["namespace"]:
            raise RefusedError(f"namespace {options.get('-n')} has no such object")
    match given.words:
        case ["exec", pod]:
            interactive = bool({"-i", "-it"} & options.keys())
            container = options.get("-c") or cluster.first_container(pod)
            cluster.enter(pod, container, given.command, interactive=interactive)
        case ["create", "secret", "generic", name]:
            cluster.create_secret(name, given.repeated)
        case ["apply"]:
            folder = Path(options["-k"])
            cluster.apply([yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))])
        case ["scale", "statefulset", name]:
            cluster.scale(name, int(options["--replicas"]))
        case ["wait", *pods] if options["--for"] == "delete":
            if left := [pod for pod in pods if cluster.exists(pod.removeprefix("pod/"))]:
                raise RefusedError(f"timed out waiting for the condition on {left}")
        case ["wait", name] if name.startswith("statefulset/") and options["--for"].startswith(READY):
            cluster.check(name.removeprefix("statefulset/"))
        case ["patch", "statefulset", name] if options["--type"] == "strategic":
            cluster.patch(name, json.loads(options["-p"]))
        case ["rollout", *words]:
            roll_out(cluster, words)
        case _:
            raise RefusedError(f"unknown command: {given}")


if __name__ == "__main__":
    try:
        run(Cluster.load(Path(sys.argv[1])), Arguments.parse(sys.argv[2:]))
    except RefusedError as refused:
        sys.exit(f"Error from server: {refused}")
