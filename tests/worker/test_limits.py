"""Cores and memory as control groups of either version give them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from cellspan.engine.worker import limits


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up tree of control groups; the machine itself has 8 cores."""
    monkeypatch.setattr(limits, "PROC_CGROUP", tmp_path / "self")
    monkeypatch.setattr(limits, "CGROUP_ROOT", tmp_path / "root")
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


def write(base: Path, **files: str) -> None:
    for name, text in files.items():
        path = base.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_control_groups_the_machine_counts(cgroups: Path) -> None:
    assert limits.detect_cores() == 8
    assert limits.detect_memory_bytes() == psutil.virtual_memory().total
    assert limits.count_oom_kills() == 0


def test_version_2_takes_the_tightest_limit_on_the_way_up(cgroups: Path) -> None:
    (cgroups / "self").write_text("0::/job/step\n")
    root = cgroups / "root" / "job"
    write(root, **{"cpu.max": "150000 100000\n", "memory.max": "max\n"})
    write(root / "step", **{"cpu.max": "max 100000\n", "memory.max": "1000000\n"})
    write(root / "step", **{"memory.events": "low 0\noom 2\noom_kill 3\n"})
    assert limits.detect_cores() == 2, "one and a half cores keep two executors busy"
    assert limits.detect_memory_bytes() == 1_000_000
    assert limits.count_oom_kills() == 3


def test_version_1_has_a_tree_for_each_controller(cgroups: Path) -> None:
    (cgroups / "self").write_text("5:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/b\n")
    write(
        cgroups / "root" / "cpu" / "a",
        **{"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"},
    )
    write(cgroups / "root" / "memory", **{"memory.limit_in_bytes": str(2**63 - 4096)})
    write(cgroups / "root" / "memory" / "a", **{"memory.limit_in_bytes": "5000000"})
    assert limits.detect_cores() == 3
    assert limits.detect_memory_bytes() == 5_000_000


def test_nonsense_is_no_limit(cgroups: Path) -> None:
    (cgroups / "self").write_text("0::/x\nrubbish\n")
    write(cgroups / "root" / "x", **{"cpu.max": "lots", "memory.max": "-1"})
    assert limits.detect_cores() == 8
    assert limits.detect_memory_bytes() == psutil.virtual_memory().total


def test_gpus_are_those_of_the_system_or_those_that_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert limits.detect_gpus() == []
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert limits.detect_gpus() == [2, 10]
    for said, found in (("", []), ("3", [3]), ("1, GPU-ab12,1", [1, "GPU-ab12"]), ("0,-1,2", [0])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
        assert limits.detect_gpus() == found
