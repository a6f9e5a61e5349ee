"""The store folder: where it is made, and who removes it when its worker is gone."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from cellspan.engine.worker import storefolder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A made-up /dev/shm and a temporary folder, both with much room."""
    shared, disk = tmp_path / "shm", tmp_path / "tmp"
    shared.mkdir()
    disk.mkdir()
    monkeypatch.setattr(storefolder, "SHARED_MEMORY", shared)
    monkeypatch.setattr(storefolder.tempfile, "gettempdir", lambda: str(disk))
    monkeypatch.setattr(storefolder, "DISK", disk)
    monkeypatch.setattr(storefolder, "_free_bytes", lambda path: 10 << 30)
    return shared, disk


def test_it_lies_in_shared_memory_and_is_ours_alone(places: tuple[Path, Path]) -> None:
    folder = storefolder.make_store_folder(1 << 30)
    assert Path(folder.path).parent == places[0] and folder.in_memory
    assert folder.limit_bytes == 1 << 30
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o700
    folder.remove()
    assert not os.path.exists(folder.path)


def test_beside_it_there_is_one_on_disk(places: tuple[Path, Path]) -> None:
    folder = storefolder.make_store_folder(1 << 30)
    spill = Path(folder.spill)
    assert spill.parent == places[1] and folder.spill_limit_bytes == int((10 << 30) * 0.9)
    assert stat.S_IMODE(os.stat(spill).st_mode) == 0o700
    (spill / "s-1").write_bytes(b"result")
    other = storefolder.make_store_folder(1 << 30)  # sweeps: ours is locked
    assert (spill / "s-1").exists()
    other.remove()
    os.close(folder.spill_lock)  # as if we were killed
    folder.spill_lock = -1
    storefolder.sweep()
    assert not spill.exists()
    folder.remove()


def test_a_small_shared_memory_is_not_used(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = {places[0]: 64 << 20, places[1]: 1000 << 20}
    monkeypatch.setattr(storefolder, "_free_bytes", room.__getitem__)
    folder = storefolder.make_store_folder(1 << 30)
    assert Path(folder.path).parent == places[1] and not folder.in_memory
    assert folder.limit_bytes == int((1000 << 20) * 0.9)
    assert not folder.spill  # it is on disk already
    folder.remove()


def test_what_dead_workers_left_is_swept_and_nothing_else(places: tuple[Path, Path]) -> None:
    prefix = f"cellspan-{os.getuid()}-"
    dead, young, foreign = (places[0] / f"{prefix}{n}" for n in ("dead", "young", "foreign"))
    for path in (dead, young, foreign):
        path.mkdir()
    (dead / "lock").touch()
    (dead / "x1-1").write_bytes(b"left")
    (foreign / "data").touch()
    os.utime(foreign, (0, 0))
    living = storefolder.make_store_folder(1 << 30)
    assert sorted(p.name for p in places[0].iterdir()) == sorted(
        [young.name, foreign.name, Path(living.path).name]
    )
    os.utime(young, (0, 0))
    storefolder.sweep()
    assert not young.exists() and foreign.exists() and os.path.exists(living.path)
    with open(f"{living.path}/lock") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    living.remove()


def test_a_sweep_while_a_store_is_made_leaves_it_alone(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may sweep at any moment, also between making the lock and holding it."""
    lock = fcntl.flock

    def sweep_first(file: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            storefolder.sweep()
        lock(file, operation)

    monkeypatch.setattr(storefolder.fcntl, "flock", sweep_first)
    folder = storefolder.make_store_folder(1 << 30)
    assert Path(folder.path).is_dir()
    storefolder.sweep()
    assert Path(folder.path).is_dir()
    folder.remove()
    assert not any(places[0].iterdir())
