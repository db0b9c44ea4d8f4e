"""How many threads calls use by default, and why."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import _core, ops

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAY = "from fusedlstm import ops; print(ops.get_num_threads(), ops.why_num_threads(), sep=': ')"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = ops.get_num_threads()
    yield
    ops.set_num_threads(before)


def said(script: str = SAY, before: str = "", **variables: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import os\n{before}\n{script}"],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
ONE_CORE = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


@needs_affinity
def test_affinity_mask() -> None:
    count, why = said(before=ONE_CORE).split(": ", 1)
    assert count == "1"
    cores = os.cpu_count()
    assert why == ("the only core" if cores == 1 else f"affinity mask: 1 of {cores} cores")


@needs_affinity
def test_a_mask_of_later_counts_when_asked_for() -> None:
    script = f"{SAY}; {ONE_CORE}; {SAY}; ops.set_num_threads(None); {SAY}"
    first, unchanged, anew = said(script).splitlines()
    assert unchanged == first
    assert anew.startswith("1: ")


@needs_affinity
def test_a_forked_child_reads_anew() -> None:
    script = f"""
{SAY}
child = os.fork()
if child == 0:
    {ONE_CORE}
    os._exit(ops.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert said(script).splitlines()[1] == "1"


def test_a_forked_child_keeps_what_was_set() -> None:
    script = """
from fusedlstm import ops
ops.set_num_threads(3)
child = os.fork()
if child == 0:
    os._exit(ops.get_num_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert said(script) == "3"


def test_variables() -> None:
    assert said(OMP_NUM_THREADS="3") == "3: OMP_NUM_THREADS"
    assert said(OMP_NUM_THREADS="4,2") == "4: OMP_NUM_THREADS"
    assert said(OMP_NUM_THREADS="3", FUSEDLSTM_NUM_THREADS="5") == "5: FUSEDLSTM_NUM_THREADS"
    by_default = said()
    assert said(OMP_NUM_THREADS="many") == by_default
    assert said(OMP_NUM_THREADS="", FUSEDLSTM_NUM_THREADS="") == by_default


def test_setting() -> None:
    ops.set_num_threads(7)
    assert (ops.get_num_threads(), ops.why_num_threads()) == (7, "set_num_threads")
    for wrong in (0, -1, 1025, 1 << 80):
        with pytest.raises(ValueError, match="count: expected a number from 1 to 1024"):
            ops.set_num_threads(wrong)
    for kind in (2.5, True, np.True_, "2", [2]):
        with pytest.raises(
            TypeError, match=f"^count: expected an integer or None, got {re.escape(repr(kind))}$"
        ):
            ops.set_num_threads(kind)  # type: ignore[arg-type]
    assert (ops.get_num_threads(), ops.why_num_threads()) == (7, "set_num_threads")
    ops.set_num_threads(np.int64(6))  # type: ignore[arg-type]
    assert ops.get_num_threads() == 6
    ops.set_num_threads(None)
    assert ops.get_num_threads() >= 1
    assert ops.why_num_threads() != "set_num_threads"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        (" 12 ", 12),
        ("4,2", 4),
        ("4 , 2,1", 4),
        ("+2", 2),
        ("5000", 1024),
        ("", None),
        (" ", None),
        ("0", None),
        ("-3", None),
        ("2.5", None),
        ("4x", None),
        ("4,", None),
        ("4,0", None),
        (",4", None),
        ("4 2", None),
        ("99999999999999999999", None),
    ],
)
def test_openmp_lists(text: str, count: int | None) -> None:
    """As GCC's runtime reads them, which warns about the others and ignores them."""
    assert _core.openmp_threads(text) == count


V2 = "30 24 0:26 {root} {at} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:29 {root} {at} rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct"
OTHER = """22 1 8:1 / / rw,relatime - ext4 /dev/root rw
34 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"""


class Tree:
    """Files as the kernel shows them, below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def processes(self, groups: str, *mounts: str) -> None:
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", "\n".join([OTHER, *mounts]) + "\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def quota(self) -> float | None:
        return _core.cgroup_quota(str(self.root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_no_cgroups(tree: Tree) -> None:
    assert tree.quota() is None
    tree.processes("0::/\n")
    assert tree.quota() is None


def test_quota_of_version_2(tree: Tree) -> None:
    tree.processes("0::/a.slice/b\n", V2.format(root="/", at="/sys/fs/cgroup"))
    tree.write("sys/fs/cgroup/a.slice/b/cpu.max", "150000 100000\n")
    assert tree.quota() == 1.5
    tree.write("sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n")  # less, further up
    assert tree.quota() == 0.5
    tree.write("sys/fs/cgroup/a.slice/cpu.max", "max 100000\n")
    assert tree.quota() == 1.5
    tree.write("sys/fs/cgroup/a.slice/b/cpu.max", "max 100000\n")
    assert tree.quota() is None
    for broken in ("", "a b", "100000", "1 0", "-1 100000"):
        tree.write("sys/fs/cgroup/a.slice/b/cpu.max", broken)
        assert tree.quota() is None


def test_quota_of_version_1(tree: Tree) -> None:
    tree.processes("5:memory:/m\n4:cpu,cpuacct:/x/y\n0::/z\n", V1.format(root="/", at="/sys/fs/cgroup/cpu"))
    tree.write("sys/fs/cgroup/cpu/x/y/cpu.cfs_quota_us", "-1\n")
    tree.write("sys/fs/cgroup/cpu/x/y/cpu.cfs_period_us", "100000\n")
    assert tree.quota() is None
    tree.write("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "250000\n")
    tree.write("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "50000\n")
    assert tree.quota() == 5
    tree.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n")  # the mounted group itself
    tree.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert tree.quota() == 3


def test_quotas_of_both_versions(tree: Tree) -> None:
    mounts = V1.format(root="/", at="/sys/fs/cgroup/cpu"), V2.format(root="/", at="/sys/fs/cgroup/unified")
    tree.processes("4:cpu:/v1\n0::/v2\n", *mounts)
    tree.write("sys/fs/cgroup/cpu/v1/cpu.cfs_quota_us", "200000")
    tree.write("sys/fs/cgroup/cpu/v1/cpu.cfs_period_us", "100000")
    assert tree.quota() == 2
    tree.write("sys/fs/cgroup/unified/v2/cpu.max", "100000 100000")
    assert tree.quota() == 1


@pytest.mark.parametrize(
    ("group", "root"),
    [("/docker/id", "/docker/id"), ("/../other", "/"), ("/docker/identity", "/docker/id"), ("/", "/")],
    ids=["the container's own", "outside of the namespace", "another one", "the root"],
)
def test_the_mounted_group_stands_for_what_it_does_not_show(tree: Tree, group: str, root: str) -> None:
    tree.processes(f"0::{group}\n", V2.format(root=root, at="/sys/fs/cgroup"))
    tree.write("sys/fs/cgroup/cpu.max", "120000 100000")
    tree.write("sys/fs/other/cpu.max", "10000 100000")
    assert tree.quota() == 1.2


def test_a_part_of_the_hierarchy_is_mounted(tree: Tree) -> None:
    tree.processes("0::/pod/a\\b/c:d\n", V2.format(root="/pod", at="/mnt/my\\040groups"))
    tree.write("mnt/my groups/a\\b/c:d/cpu.max", "100000 100000")
    assert tree.quota() == 1
