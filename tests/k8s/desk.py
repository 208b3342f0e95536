"""The commands of a page, and a shell in which an administrator would type them, on a real API server.

`tests/k8s/kubelet_commands.py` stands in for the commands that need a kubelet, and `Nodes` for what kubelets report.
"""

import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import yaml

from backup_agent.k8s import manifests
from backup_agent.k8s.alone import Spec
from tests.components.kubernetes import NODE, OTHER_NODE, Kubelet, Kubernetes, RefusedError

ROOT = Path(__file__).parents[2]

TYPED = re.compile(r"^ {4,}((?:kubectl|helm|until kubectl|for \w+ in) .+)$|`(kubectl [^`]+)`", re.MULTILINE)
"""Pattern of a command: a line of a block of code, or code within a paragraph."""

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def typed(text: str) -> list[str]:
    """Return the commands of a page, in order."""
    return [" ".join((block or within).split()) for block, within in TYPED.findall(text)]


class Nodes(threading.Thread):
    """Report what kubelets would of the pods of a namespace: of one node, and of another one while the first is tainted."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        super().__init__()
        self._kubernetes = kubernetes
        self._kubelets = [Kubelet(kubernetes, namespace, node) for node in (NODE, OTHER_NODE)]
        self._ended = threading.Event()

    def run(self) -> None:
        """Report on the pods until the block ends."""
        while not self._ended.wait(0.1):
            taints = self._kubernetes.request("GET", f"/api/v1/nodes/{NODE}")["spec"].get("taints", ())
            with suppress(RefusedError):  # of a pod that has just been deleted
                self._kubelets[any(one["key"] == OUT_OF_SERVICE for one in taints)].look()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._kubernetes.kubectl("taint", "node", NODE, f"{OUT_OF_SERVICE}-")


class Desk:
    """A folder with the rendered objects of a spec in `demo`, and a `kubectl` for the namespace of the spec."""

    def __init__(self, kubernetes: Kubernetes, spec: Spec, folder: Path) -> None:
        self.folder = folder
        (folder / "demo").mkdir()
        for name, content in manifests.files(spec).items():
            (folder / "demo" / name).write_text(content)
        config = yaml.safe_load(kubernetes.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = spec.namespace
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        real = kubernetes.programs / "kubectl"
        stand_in = f"PYTHONPATH={ROOT} exec {sys.executable} -m tests.k8s.kubelet_commands {real}"
        self.install(
            "kubectl",
            f'case "$1" in exec | logs | run | port-forward | get) {stand_in} "$@";; esac\nexec {real} "$@"\n',
        )

    def install(self, name: str, script: str) -> None:
        """Write a program."""
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command line. Its exit code is not 0 if any program of a pipe has failed."""
        return subprocess.run(
            ("bash", "-o", "pipefail", "-c", command),
            cwd=self.folder,
            env={
                "PATH": f"{self.folder}:/usr/bin:/bin",
                "KUBECONFIG": str(self.folder / "kubeconfig"),
                "NEW": "for-tests-only",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def faults(self, commands: list[str]) -> list[str]:
        """Run command lines. Return those that failed, with their last output."""
        done = ((command, self.type(command)) for command in commands)
        return [f"{command}: {one.stderr.strip() or one.stdout.strip()}" for command, one in done if one.returncode]
