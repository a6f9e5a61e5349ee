"""The house rules that a reader relies on: who may import whom, and how long things may get.

Every import in the source counts, also one inside a function or for type checking only. The
tables below are the rules; an exception stands in a table with its reason, and one that is no
longer needed fails too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("api", "engine", "kernel_ext", "labext")

# --- the rules ---------------------------------------------------------------------------------

# Room of the engine -> the rooms it may import. Downwards only: scheduler, worker and client share
# messages and do not know each other; only deploy and what stands above it puts them together.
WIRE = ("ids", "errors", "messages", "codec", "transport", "resources", "options")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "ids": (),
    "errors": ("ids",),
    "resources": ("errors",),
    "options": ("errors", "resources"),
    "messages": ("ids", "errors"),
    "codec": ("ids", "errors", "messages"),
    "transport": ("ids", "errors", "messages", "codec"),
    "executor": (),
    "environments": ("ids", "errors", "messages"),
    "diagnostics": ("ids", "errors", "messages"),
    "scheduler": (*WIRE, "diagnostics"),
    "worker": (*WIRE, "environments", "executor"),
    "client": (*WIRE, "diagnostics", "environments", "executor"),
    "deploy": (*WIRE, "client", "diagnostics", "environments", "executor", "scheduler", "worker"),
    "integrations": (*WIRE, "client", "deploy", "diagnostics", "executor"),
    # The user interfaces: what a user could do from a script, they do likewise.
    "kernel_ext": ("ids", "errors", "messages", "client", "deploy", "diagnostics", "environments"),
    "labext": ("ids", "errors", "messages", "client", "deploy", "diagnostics", "environments"),
}

# File -> a room above its own that it imports all the same.
LOOKS_UP: dict[str, str] = {
    "engine/client/target.py": "deploy",  # a name is resolved when a client is made, lazily
    "engine/client/plugs.py": "integrations",  # client.get and get_executor, when they are called
}

# Room -> the third parties it may import; a room that is not here may import any but JUPYTER.
THIRD_PARTIES: dict[str, set[str]] = {
    "ids": set(),
    "errors": set(),
    "resources": set(),
    "options": {"msgpack"},
    "messages": {"msgpack"},
    "codec": {"msgpack"},
    # It starts inside environments that hold nothing else; a title is set where that can be done.
    "executor": {"cloudpickle", "setproctitle"},
    "diagnostics": {"bokeh", "numpy"},
}
JUPYTER = {
    "IPython", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core", "jupyter_server",
    "jupyterlab",
}  # fmt: skip
JUPYTER_OF_ROOM = {"deploy": {"jupyter_core"}}  # where connection files lie

# The control process reads data, never pickles: no message can run code in it.
NEVER_UNPICKLE = ("ids", "errors", "messages", "codec", "transport", "scheduler")
PICKLERS = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}

# Cores get clock, randomness and the outside world as arguments, so that a simulation is the
# production code.
WORLD = {
    "asyncio", "multiprocessing", "os", "random", "secrets", "select", "selectors", "signal",
    "socket", "ssl", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
CORE_MAY: dict[str, set[str]] = {}  # "engine/scheduler/x.py": {"os"},  # reason

FILE_LINES = 500
TEST_FILE_LINES = 800
FUNCTION_LINES = 70
LONG_FILES: dict[str, str] = {
    "engine/messages.py": "the whole wire in one file, most of it docstrings",
}
LONG_FUNCTIONS: dict[str, str] = {}  # "engine/x.py:Class.method": "reason"

# --- reading the source ------------------------------------------------------------------------


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def python_files(*folders: str) -> list[Path]:
    """Files of the folders at the root; the links inside api/ and built files are left out."""
    return sorted(
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        if not any(parent.is_symlink() for parent in file.parents)
        and "labextension" not in file.parts
    )


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def package_of(file: Path) -> list[str]:
    parts = list(file.relative_to(ROOT).parent.parts)
    return ["cellspan", *(parts[1:] if parts[0] == "api" else parts)]


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of each import, `from x import y` as `x.y`."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = package_of(file)
            above = package[: len(package) - node.level + 1] if node.level else []
            module = [*above, *([node.module] if node.module else [])]
            for alias in node.names:
                yield node.lineno, ".".join([*module, alias.name])


def room_of_module(name: str) -> str | None:
    """`cellspan.engine.codec.x` -> `codec`, `cellspan.labext.x` -> `labext`; None: the face."""
    parts = name.split(".")
    if parts[1] == "engine" and len(parts) > 2:
        return parts[2]
    return parts[1] if parts[1] in PARTS else None


def room_of_file(file: Path) -> str | None:
    room = room_of_module(".".join([*package_of(file), file.stem]))
    return None if room == "__init__" else room


def foreign_imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of each import from outside cellspan."""
    for line, name in imports_of(file):
        if (top := name.partition(".")[0]) != "cellspan":
            yield line, top


def is_core(file: Path) -> bool:
    name = name_of(file)
    if name.startswith("engine/scheduler/"):
        return name != "engine/scheduler/server.py"
    return name.startswith("engine/worker/core")


def functions_of(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Dotted name and length in lines of each function, nested ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or child.lineno) - child.lineno + 1
            yield from functions_of(child, f"{name}.")
        else:
            yield from functions_of(child, prefix)


# --- imports -----------------------------------------------------------------------------------


def test_every_room_is_in_the_table() -> None:
    rooms = {room for file in python_files(*PARTS[1:]) if (room := room_of_file(file))}
    assert sorted(rooms - set(MAY_IMPORT)) == []


def test_rooms_import_downwards_only() -> None:
    wrong, used = [], set()
    for file in python_files(*PARTS[1:]):
        room = room_of_file(file)
        if room is None:
            continue
        for line, name in imports_of(file):
            if not name.startswith("cellspan.") or name.startswith("cellspan._version"):
                continue
            target = room_of_module(name)
            if target == LOOKS_UP.get(name_of(file)):
                used.add(name_of(file))
            elif target != room and target not in MAY_IMPORT.get(room, ()):
                wrong.append(f"{name_of(file)}:{line} ({room}) imports {name}")
    assert wrong == []
    assert used == set(LOOKS_UP)


def test_the_engine_knows_no_user_interface() -> None:
    wrong = [
        f"{name_of(file)}:{line} imports {top}"
        for file in python_files("engine")
        for line, top in foreign_imports(file)
        if top in JUPYTER - JUPYTER_OF_ROOM.get(room_of_file(file) or "", set())
    ]
    assert wrong == []


def test_rooms_keep_to_their_third_parties() -> None:
    wrong = [
        f"{name_of(file)}:{line} ({room}) imports {top}"
        for file in python_files("engine")
        if (room := room_of_file(file)) in THIRD_PARTIES
        for line, top in foreign_imports(file)
        if top not in THIRD_PARTIES[room] and top not in sys.stdlib_module_names
    ]
    assert wrong == []


def test_the_control_process_never_unpickles() -> None:
    wrong = [
        f"{name_of(file)}:{line} imports {top}"
        for file in python_files("engine")
        if room_of_file(file) in NEVER_UNPICKLE
        for line, top in foreign_imports(file)
        if top in PICKLERS
    ]
    assert wrong == []


def test_cores_do_not_touch_the_world() -> None:
    found = {
        (name_of(file), top): line
        for file in python_files("engine")
        if is_core(file)
        for line, top in foreign_imports(file)
        if top in WORLD
    }
    allowed = {(name, top) for name, tops in CORE_MAY.items() for top in tops}
    assert [f"{n}:{found[n, top]} imports {top}" for n, top in sorted(set(found) - allowed)] == []
    assert sorted(allowed - set(found)) == [], "no longer needed in CORE_MAY"


# --- sizes -------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    long = set()
    for file in [*python_files(*PARTS, "benchmarks", "tests"), ROOT / "hatch_build.py"]:
        limit = TEST_FILE_LINES if name_of(file).startswith("tests/") else FILE_LINES
        if len(file.read_text().splitlines()) > limit:
            long.add(name_of(file))
    assert sorted(long - set(LONG_FILES)) == []
    assert sorted(set(LONG_FILES) - long) == [], "no longer needed in LONG_FILES"


def test_functions_are_short() -> None:
    long = {
        f"{name_of(file)}:{name}"
        for file in [*python_files(*PARTS, "benchmarks", "tests"), ROOT / "hatch_build.py"]
        for name, lines in functions_of(tree_of(file))
        if lines > FUNCTION_LINES
    }
    assert sorted(long - set(LONG_FUNCTIONS)) == []
    assert sorted(set(LONG_FUNCTIONS) - long) == [], "no longer needed in LONG_FUNCTIONS"
