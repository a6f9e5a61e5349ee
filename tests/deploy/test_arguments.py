"""Sizes and names as users write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellspan.engine.deploy import arguments, connection_file, processes
from cellspan.engine.deploy.connection_file import ClusterInfo
from cellspan.engine.deploy.launcher import LaunchSpec, LocalLauncher
from cellspan.engine.deploy.lease import Lease
from cellspan.engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4 gb", 4 * 10**9), ("4G", 4 * 10**9), ("1.5GiB", 3 << 29),
     ("512MiB", 512 << 20), ("100000kB", 10**8), ("1TiB", 1 << 40), ("100000000", 10**8),
     (10**9, 10**9)],
)  # fmt: skip
def test_memory(text: Any, size: int) -> None:
    assert arguments.parse_memory(text) == size


@given(st.one_of(st.text(), st.integers(max_value=10**7), st.none(), st.floats(), st.booleans()))
def test_memory_is_a_size_or_refused(memory: Any) -> None:
    try:
        assert arguments.parse_memory(memory) >= arguments.MIN_MEMORY_BYTES
    except InvalidArgument as error:
        assert "'4GB'" in str(error)


def test_topology_is_site_and_rack() -> None:
    assert arguments.check_topology(None) == ""
    assert arguments.check_topology("berlin/r17") == "berlin/r17"
    for wrong in ("", "berlin", "a/b/c", "/r17", "berlin/", "a b/c", 17):
        with pytest.raises(InvalidArgument, match="site and rack"):
            arguments.check_topology(wrong)


@pytest.mark.parametrize(
    ("text", "offer"),
    [("GPU=2", {"GPU": 2}), ("GPU=0+3, licence=1", {"GPU": [0, 3], "licence": 1}),
     ("disk=4e9,half=0.5", {"disk": 4e9, "half": 0.5}),
     ("GPU=GPU-a+GPU-b", {"GPU": ["GPU-a", "GPU-b"]}),
     ({"GPU": [1], "x": 2.0}, {"GPU": [1], "x": 2.0}), ("GPU=0,x=1", {"x": 1})],
)  # fmt: skip
def test_resources(text: Any, offer: dict[str, Any]) -> None:
    assert arguments.check_resources(text) == offer


@pytest.mark.parametrize(
    "wrong", ["", "GPU", "GPU=x", "GPU=-1", "GPU=1+1", {}, {"": 1}, {"GPU": "2"}, {"GPU": []}, 5]
)
def test_resources_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="resources"):
        arguments.check_resources(wrong)


def test_no_two_workers_of_a_machine_are_dealt_the_same_gpus(tmp_path: Path) -> None:
    def deal(resources: Any, devices: list[Any], workers: int) -> list[Any]:
        spec = LaunchSpec(
            "", "", "", 1, 1, "", str(tmp_path), "", "", resources=resources, devices=devices,
            workers=workers,
        )  # fmt: skip
        launcher = LocalLauncher(spec)
        return [launcher._deal(f"w{number}").get("GPU") for number in range(workers)]

    assert deal(None, [0, 1, 2], 2) == [[0, 1], [2]]
    assert deal(None, [0], 3) == [[0], None, None]
    assert deal({"GPU": 1}, [4, 7], 2) == [[4], [7]]
    assert deal({"GPU": 2}, [], 2) == [2, 2], "there are none to tell apart"
    assert deal({"licence": 1}, [0], 1) == [None], "who says what there is says all"


@given(st.text(max_size=70))
def test_a_name_is_one_file_in_the_directory(name: str) -> None:
    try:
        connection_file.check_name(name)
    except InvalidArgument:
        return
    path = connection_file.get_path(name)
    assert path.parent == connection_file.get_directory() and path.suffix == ".json"
    assert not path.name.startswith(".")


def test_info_of_a_later_version_can_be_read() -> None:
    info = ClusterInfo("n", "i", addresses={"scheduler": "unix:///x"})
    data = {**info.to_json(), "something_new": 1}
    assert ClusterInfo.from_json(data) == info


@pytest.mark.parametrize("wrong", [{"name": "n"}, {"name": "n", "id": "i", "pid": "x"}])
def test_info_that_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        ClusterInfo.from_json(wrong)


def test_leases() -> None:
    me = processes.find_start_time(os.getpid())
    pid = os.getpid()
    assert Lease("kernel", pid, me, None).find_end(10**9) is None
    assert "has ended" in (Lease("kernel", pid, 1.0, None).find_end(0) or "")
    assert "Jupyter server" in (Lease("server", 2**22 + 1, 1.0, None).find_end(0) or "")
    assert Lease("detached", None, None, 60.0).find_end(59) is None
    assert "idle" in (Lease("detached", None, None, 60.0).find_end(60) or "")


def test_processes_are_told_apart() -> None:
    pid = os.getpid()
    found = processes.find_start_time(pid)
    assert found is not None and processes.is_alive(pid, found)
    assert not processes.is_alive(pid, found + 1)
    assert processes.find_start_time(2**22 + 1) is None
    assert processes.find_start_time(0) is None and processes.find_start_time(-1) is None
    slow = processes._find_by_psutil(pid)
    assert slow is not None and slow > 1e9
    assert processes._find_by_psutil(2**22 + 1) is None
