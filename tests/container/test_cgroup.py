"""The kernel's counters are read with both versions of cgroups, of which the test machine has only one."""

from pathlib import Path

import pytest

from tests.container.pod import Cgroup

# Keys and their order are those of the kernel's documentation: admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst.
UNIFIED = {
    "proc/7/cgroup": "0::/kubepods/pod1/c1\n",
    "sys/fs/cgroup/kubepods/pod1/c1/memory.max": "268435456\n",
    "sys/fs/cgroup/kubepods/pod1/c1/memory.peak": "268000000\n",
    "sys/fs/cgroup/kubepods/pod1/c1/memory.stat": "anon 150000000\nfile 100000000\nkernel 9000000\nanon_thp 5\n",
    "sys/fs/cgroup/kubepods/pod1/c1/memory.events": "low 0\nhigh 0\nmax 41\noom 3\noom_kill 2\noom_group_kill 1\n",
    "sys/fs/cgroup/kubepods/pod1/c1/cpu.stat": (
        "usage_usec 900\nuser_usec 600\nsystem_usec 300\nnr_periods 9\nnr_throttled 4\nthrottled_usec 1500000\n"
    ),
}
SEPARATE = {
    "proc/7/cgroup": "12:cpu,cpuacct:/docker/c1\n9:memory:/docker/c1\n0::/docker/c1\n",
    "sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes": "268435456\n",
    "sys/fs/cgroup/memory/docker/c1/memory.max_usage_in_bytes": "268000000\n",
    "sys/fs/cgroup/memory/docker/c1/memory.stat": "cache 100000000\nrss 5\ntotal_cache 7\ntotal_rss 150000000\n",
    "sys/fs/cgroup/memory/docker/c1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "sys/fs/cgroup/cpu/docker/c1/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 1500000000\n",
}


@pytest.mark.parametrize("files", [pytest.param(UNIFIED, id="v2"), pytest.param(SEPARATE, id="v1")])
def test_the_counters_of_a_container_are_read(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    found = Cgroup.of(7, tmp_path)

    assert (found.limit(), found.peak(), found.anonymous()) == (268435456, 268000000, 150000000)
    assert found.oom_kills() == 2
    assert found.throttled_seconds() == 1.5
