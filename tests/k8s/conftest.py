"""Fixtures: a real API server, built by `make api-server`, and a namespace of it."""

from collections.abc import Iterator

import pytest

from tests.components.kubernetes import KINDS, Kubernetes, built, definitions
from tests.k8s.live import known, numbers
from tests.polling import until


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    programs = built()
    if programs is None:
        pytest.skip("no API server was built here: make api-server")
    with Kubernetes(programs, tmp_path_factory.mktemp("kubernetes")) as kubernetes:
        applied = kubernetes.kubectl("apply", "--server-side", "-f", str(definitions()))
        assert applied.returncode == 0, applied.stderr
        for kind in KINDS:
            until(lambda kind=kind: known(kubernetes, f"/apis/monitoring.coreos.com/v1/{kind}"), kind)  # type: ignore[misc]  # bound now
        yield kubernetes


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> str:
    """The name of a namespace that accepts only pods of the Pod Security Standard `restricted`."""
    name = f"restricted-{next(numbers)}"
    kubernetes.restricted_namespace(name)
    return name
