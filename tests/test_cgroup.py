from pathlib import Path

import pytest

from backup_agent.cgroup import memory_limit

V1_UNLIMITED = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param("0::/\n", {"memory.max": "268435456\n"}, 268435456, id="v2 in a container"),
        pytest.param("0::/\n", {"memory.max": "max\n"}, None, id="v2 without a limit"),
        pytest.param("0::/\n", {}, None, id="v2 root: no file at all"),
        pytest.param(
            "0::/kubepods/pod1/c1\n",
            {
                "kubepods/pod1/c1/memory.max": "max\n",
                "kubepods/pod1/memory.max": "300\n",
                "kubepods/memory.max": "900\n",
            },
            300,
            id="v2, limited by the pod",
        ),
        pytest.param(
            "9:memory:/docker/abc\n1:cpu:/\n0::/\n",
            {"memory/memory.limit_in_bytes": "268435456\n"},
            268435456,
            id="v1 in a container that sees the host's path",
        ),
        pytest.param(
            "4:memory:/a/b\n0::/\n",
            {"memory/a/b/memory.limit_in_bytes": "500\n", "memory/memory.limit_in_bytes": V1_UNLIMITED},
            500,
            id="v1 on a host",
        ),
        pytest.param("4:memory:/\n", {"memory/memory.limit_in_bytes": V1_UNLIMITED}, None, id="v1 without a limit"),
        pytest.param("4:cpu,memory:/\n", {"memory/memory.limit_in_bytes": "700\n"}, 700, id="v1, controllers joined"),
        pytest.param("nonsense\n", {"memory.max": "5\n"}, None, id="nonsense"),
        pytest.param("0::/\n", {"memory.max": "\n"}, None, id="empty file"),
        pytest.param(None, {}, None, id="no cgroups"),
    ],
)
def test_the_lowest_limit_of_a_group_and_its_parents_counts(
    tmp_path: Path, groups: str | None, files: dict[str, str], expected: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    if groups is not None:
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    assert memory_limit(tmp_path) == expected


def test_the_limit_of_this_machine_can_be_read() -> None:
    limit = memory_limit()

    assert limit is None or limit > 2**20
