"""A real Kubernetes API server with the controllers that matter here, built from Go's own modules; no kubelet.

Building takes 12 minutes of a core, so nothing builds it on the way: `make api-server` does, and the programs are kept.
No kubelet runs the pods: when a test asks, `Kubelet` binds them and reports on each what a node would. The scheduler runs only
for tests of where it puts pods.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import trustme

from tests.components.cache import MissingComponentError, cache_folder, cached
from tests.components.pins import KUBERNETES, PROMETHEUS_OPERATOR
from tests.components.ports import Port
from tests.components.process import Server

Json = dict[str, Any]

PROGRAMS = (
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-scheduler",
    "k8s.io/kubernetes/cmd/kubectl",
    "go.etcd.io/etcd/server/v3",
)

NAME = f"kubernetes-{KUBERNETES}-{hashlib.sha256(' '.join(PROGRAMS).encode()).hexdigest()[:12]}"

DEFINITIONS = f"prometheus-operator-{PROMETHEUS_OPERATOR.rpartition('@')[2]}"

KINDS = ("servicemonitors", "prometheusrules")
"""Kinds of the Prometheus operator, of which its repository has the definitions."""

CONTROLLERS = (
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
)

NODE, OTHER_NODE = "node", "other-node"

TOKEN = "for-tests-only"


def built() -> Path | None:
    """Return the folder of the programs, or None if they are not built."""
    folder = cache_folder() / NAME
    return folder if folder.is_dir() and definitions().is_dir() else None


def definitions() -> Path:
    """Return the folder of the definitions of the Prometheus operator's kinds. It exists if the programs are built."""
    return cache_folder() / DEFINITIONS


def build() -> Path:
    """Return the folder of the programs, built where they are not there yet: needs Go, 4 GiB of disk, 3 of memory."""
    if shutil.which("go") is None:
        raise MissingComponentError("go is absent: the Go of the version that k8s.io/kubernetes asks for, or newer")
    cached(DEFINITIONS, _fetch_definitions)
    return cached(NAME, _build)


def _fetch_definitions(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fetch-definitions-") as name:
        operator = Path(_download(Path(name), PROMETHEUS_OPERATOR)["Dir"])
        for kind in KINDS:
            found = operator / "example" / "prometheus-operator-crd" / f"monitoring.coreos.com_{kind}.yaml"
            shutil.copyfile(found, folder / f"{kind}.yaml")


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-kubernetes-") as name:
        work = Path(name)
        upstream = Path(_download(work, f"k8s.io/kubernetes@{KUBERNETES}")["GoMod"]).read_text()
        (work / "go.mod").write_text(_module(upstream))
        (work / "doc.go").write_text("package build\n")
        _go(work, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{folder}/", *PROGRAMS)
        (folder / "server").rename(folder / "etcd")


def _download(work: Path, module: str) -> Json:
    """Download a module, and return what Go says of it."""
    found: Json = json.loads(_go(work, "mod", "download", "-json", module))
    return found


def _go(work: Path, *words: str) -> str:
    """Run Go in a folder, and return its output."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(work / "cache"),
        "GOFLAGS": "-mod=mod -modcacherw -buildvcs=false",
        # No lock has the modules' hashes: Go compares them with its public log, unless one of these forbids it.
        **dict.fromkeys(("GOSUMDB", "GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GOINSECURE"), ""),
        "GOPATH": str(work / "path"),
    }
    completed = subprocess.run(("go", *words), cwd=work, env=environment, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise MissingComponentError(f"go {words[0]} ended with {completed.returncode}:\n{completed.stderr[-2000:]}")
    return completed.stdout


def _module(upstream: str) -> str:
    """Return Kubernetes' go.mod as one that builds it from outside: its staging folders are modules of their own."""
    staged = "v0" + KUBERNETES.removeprefix("v1")
    named = re.sub(r"^module .*$", "module build", upstream, flags=re.MULTILINE)
    replaced = re.sub(r"=> \./staging/src/(\S+)", rf"=> \1 {staged}", named)
    return f"{replaced}\nrequire k8s.io/kubernetes {KUBERNETES}\n"


class RefusedError(Exception):
    """The API server has refused a request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class _Part(Server):
    """One of the programs."""

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(folder / f"{program.name}.log")
        self.name = program.name
        self._program = program

    def start(self, options: Mapping[str, object], ready: Callable[[], bool]) -> None:
        argv = (str(self._program), *(f"--{key}={value}" for key, value in options.items()))
        self._launch(argv, ready, environment={}, timeout=120)


class Kubernetes:
    """etcd, API server and controllers, on ports and in a folder of their own. Use as a context manager."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self._folder = folder
        self._ports = [Port.reserve() for _ in range(3)]
        self._etcd, self._api, self._controllers = (f"127.0.0.1:{port.number}" for port in self._ports)
        self._parts: list[_Part] = []
        self._tls = ssl.create_default_context()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for part in reversed(self._parts):
            part.kill()
        for port in self._ports:
            port.release()

    def _start(self) -> None:
        folder = self._folder
        ca = trustme.CA(key_type=trustme.KeyType.RSA)
        issued = ca.issue_cert("127.0.0.1")
        self._tls.load_verify_locations(cadata=ca.cert_pem.bytes().decode())
        ca.cert_pem.write_to_path(folder / "ca.crt")
        ca.private_key_pem.write_to_path(folder / "accounts.key")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        (folder / "tokens.csv").write_text(f"{TOKEN},tests,1,system:masters\n")
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))
        _, _, api_port = self._api.rpartition(":")
        _, _, controllers_port = self._controllers.rpartition(":")
        peers = Port.reserve()
        self._ports.append(peers)
        own_peer = f"http://127.0.0.1:{peers.number}"
        self._part("etcd").start(
            {
                "data-dir": folder / "etcd",
                "listen-client-urls": f"http://{self._etcd}",
                "advertise-client-urls": f"http://{self._etcd}",
                "listen-peer-urls": own_peer,
                "initial-advertise-peer-urls": own_peer,
                "initial-cluster": f"default={own_peer}",
                "unsafe-no-fsync": "true",
            },
            lambda: self._answers(f"http://{self._etcd}/health"),
        )
        self._part("kube-apiserver").start(
            {
                "etcd-servers": f"http://{self._etcd}",
                "bind-address": "127.0.0.1",
                "secure-port": api_port,
                "endpoint-reconciler-type": "none",
                "tls-cert-file": folder / "server.pem",
                "tls-private-key-file": folder / "server.pem",
                "service-account-key-file": folder / "accounts.key",
                "service-account-signing-key-file": folder / "accounts.key",
                "service-account-issuer": "https://kubernetes.default.svc",
                "service-cluster-ip-range": "10.0.0.0/16",
                "token-auth-file": folder / "tokens.csv",
                "authorization-mode": "RBAC",
            },
            lambda: self._answers(f"https://{self._api}/readyz"),
        )
        self._part("kube-controller-manager").start(
            {
                "kubeconfig": self.kubeconfig,
                "authentication-kubeconfig": self.kubeconfig,
                "authorization-kubeconfig": self.kubeconfig,
                "bind-address": "127.0.0.1",
                "secure-port": controllers_port,
                "tls-cert-file": folder / "server.pem",
                "tls-private-key-file": folder / "server.pem",
                "service-account-private-key-file": folder / "accounts.key",
                "controllers": ",".join(CONTROLLERS),
                "leader-elect": "false",
                "kube-api-qps": 1000,
                "kube-api-burst": 2000,
            },
            lambda: self._answers(f"https://{self._controllers}/healthz"),
        )
        for name in (NODE, OTHER_NODE):
            self.request("POST", "/api/v1/nodes", {"metadata": {"name": name}})

    @contextmanager
    def scheduler(self) -> Iterator[None]:
        """Run the scheduler: it binds every pod that has no node, in all namespaces."""
        port = Port.reserve()
        address = f"127.0.0.1:{port.number}"
        part = _Part(self.programs / "kube-scheduler", self._folder)
        try:
            part.start(
                {
                    "kubeconfig": self.kubeconfig,
                    "authentication-kubeconfig": self.kubeconfig,
                    "authorization-kubeconfig": self.kubeconfig,
                    "bind-address": "127.0.0.1",
                    "secure-port": port.number,
                    "tls-cert-file": self._folder / "server.pem",
                    "tls-private-key-file": self._folder / "server.pem",
                    "leader-elect": "false",
                },
                lambda: self._answers(f"https://{address}/healthz"),
            )
            yield
        finally:
            part.kill()
            port.release()

    def _part(self, name: str) -> _Part:
        self._parts.append(_Part(self.programs / name, self._folder))
        return self._parts[-1]

    @property
    def kubeconfig(self) -> Path:
        """The file by which kubectl is cluster-admin."""
        return self._folder / "kubeconfig"

    def _kubeconfig(self) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {
                        "server": f"https://{self._api}",
                        "certificate-authority": str(self._folder / "ca.crt"),
                    },
                }
            ],
        }

    def _answers(self, url: str) -> bool:
        try:
            self._open("GET", url)
        except (OSError, RefusedError, http.client.HTTPException):
            return False
        return True

    def _open(self, method: str, url: str, body: object = None, kind: str = "application/json") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        request = urllib.request.Request(url, data, headers, method=method)
        context = self._tls if url.startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read().decode()) from None

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
        """Ask the API server; raise RefusedError where it says no."""
        found: Json = json.loads(self._open(method, f"https://{self._api}{path}", body, kind))
        return found

    def events(self, path: str, since: str) -> list[Json]:
        """Return every change below a path since a resource version, in the order of their happening."""
        lines = self._open("GET", f"https://{self._api}{path}&watch=1&timeoutSeconds=1&resourceVersion={since}")
        return [json.loads(line) for line in lines.splitlines()]

    def shell(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a command line in a folder, in which `kubectl` is cluster-admin."""
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "KUBECONFIG": str(self.kubeconfig),
        }
        return subprocess.run(
            ("sh", "-c", command), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl as cluster-admin."""
        return subprocess.run(
            (str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def restricted_namespace(self, name: str) -> None:
        """Make a namespace that takes pods of Pod Security `restricted` alone, and warns of others at once."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Kubelet:
    """Says of the pods of a namespace what scheduler and a node would, whenever it is asked to look."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, node: str = NODE) -> None:
        self._kubernetes = kubernetes
        self._node = node
        self._path = f"/api/v1/namespaces/{namespace}/pods"

    def pods(self) -> dict[str, Json]:
        """Return the pods by name."""
        return {pod["metadata"]["name"]: pod for pod in self._kubernetes.request("GET", self._path)["items"]}

    def look(self, *, unready: Iterable[str] = ()) -> dict[str, Json]:
        """Bind new pods and let them run, ready unless their image is in `unready`; end those that are asked to end."""
        pods = self.pods()
        for name, pod in pods.items():
            path = f"{self._path}/{name}"
            if pod["spec"].get("nodeName", self._node) != self._node:
                continue
            if "deletionTimestamp" in pod["metadata"]:
                # The one that was seen: there may be another of its name by now.
                seen = {"uid": pod["metadata"]["uid"]}
                with suppress(RefusedError):
                    self._kubernetes.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": seen})
                continue
            if "nodeName" not in pod["spec"]:
                target = {"metadata": {"name": name}, "target": {"kind": "Node", "name": self._node}}
                self._kubernetes.request("POST", f"{path}/binding", target)
            if pod["status"]["phase"] == "Pending":
                (container,) = pod["spec"]["containers"]
                ready = str(container["image"] not in unready)
                status = {
                    "phase": "Running",
                    "podIP": "10.1.0.1",
                    "podIPs": [{"ip": "10.1.0.1"}],
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": _now()}],
                }
                self._kubernetes.request("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")
        return pods


def main() -> None:
    """Build the programs, and say where they are."""
    sys.stdout.write(f"{build()}\n")


if __name__ == "__main__":
    main()
