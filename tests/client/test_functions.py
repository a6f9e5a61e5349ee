"""Functions are pickled once, and again as soon as anything that they use has changed."""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import numpy as np
import pytest

from cellspan.engine.client import functions
from cellspan.engine.client.functions import FunctionTable, LargePayload, PickledFunction
from cellspan.engine.errors import ArgumentNotSerializable, InvalidArgument, PayloadTooLarge
from cellspan.engine.executor.values import load_blob


class Notebook:
    """Cells that are run like those of a notebook: functions in them live in ``__main__``."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, cell: str) -> None:
        exec(compile(cell, "<cell>", "exec"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def table() -> FunctionTable:
    return FunctionTable()


@pytest.fixture
def dumps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that is pickled."""
    found = []
    dump = functions._dump

    def note(function: Any) -> bytes:
        found.append(function)
        return dump(function)

    monkeypatch.setattr(functions, "_dump", note)
    return found


def call(pickled: PickledFunction, *args: Any) -> Any:
    return load_blob(pickled.blob)(*args)


def test_a_function_is_pickled_once(
    table: FunctionTable, notebook: Notebook, dumps: list[Any]
) -> None:
    notebook.run(
        "import math\nk = 2\ndef helper(x): return x * k\ndef f(x): return math.sqrt(helper(x))"
    )
    for function in (notebook["f"], math.sqrt, len, np.sum, notebook["helper"]):
        dumps.clear()
        first = table.pickle(function)
        assert table.pickle(function) is first and len(dumps) == 1


def test_a_redefined_function_is_another(table: FunctionTable, notebook: Notebook) -> None:
    notebook.run("def f(x): return x + 1")
    first = table.pickle(notebook["f"])
    notebook.run("def f(x): return x + 2")
    second = table.pickle(notebook["f"])
    assert (first.name, second.name) == ("f", "f") and first.digest != second.digest
    assert (call(first, 1), call(second, 1)) == (2, 3)


@pytest.mark.parametrize(
    "change",
    [
        "k = 5",
        "def helper(x): return x * 5",
        "table['k'] = 5",
        "f.__defaults__ = (5,)",
        "f.__code__ = (lambda x, d=0: 5 * x).__code__",
        "config.k = 5",
    ],
)
def test_a_change_of_what_it_uses_is_seen(
    table: FunctionTable, notebook: Notebook, change: str
) -> None:
    notebook.run(
        "k = 1\ntable = {'k': 1}\nclass Config: k = 1\nconfig = Config()\n"
        "def helper(x): return x * k\n"
        "def f(x, d=1): return helper(x) * table['k'] * d * config.k"
    )
    assert call(table.pickle(notebook["f"]), 1) == 1
    assert call(table.pickle(notebook["f"]), 1) == 1
    notebook.run(change)
    assert call(table.pickle(notebook["f"]), 1) == 5


def test_a_name_that_comes_to_be_is_seen(table: FunctionTable, notebook: Notebook) -> None:
    notebook.run("def f(x): return later(x)")
    with pytest.raises(NameError):
        call(table.pickle(notebook["f"]), 1)
    notebook.run("def later(x): return -x")
    assert call(table.pickle(notebook["f"]), 1) == -1


def test_a_changed_closure_is_seen(table: FunctionTable) -> None:
    k = 1

    def f(x: int) -> int:
        return x * k

    assert call(table.pickle(f), 1) == 1
    k = 5
    assert call(table.pickle(f), 1) == 5


def test_names() -> None:
    class Model:
        def __call__(self) -> None: ...

        def fit(self) -> None: ...

    found = [
        functions.name_of(f)
        for f in (lambda: 0, math.sqrt, functools.partial(math.pow, 2), Model(), Model().fit, int)
    ]
    assert found == ["lambda", "sqrt", "pow", "Model", "fit", "int"]


def test_what_cannot_be_called_is_refused(table: FunctionTable) -> None:
    with pytest.raises(InvalidArgument, match="is the function to call, not 5 of type int"):
        table.pickle(5)  # type: ignore[arg-type]


def test_the_variable_that_cannot_be_pickled_is_named(
    table: FunctionTable, notebook: Notebook
) -> None:
    guard = threading.Lock()

    def closes_over(x: int) -> int:
        with guard:
            return x

    with pytest.raises(
        ArgumentNotSerializable,
        match=r"'closes_over' cannot be sent.*variable 'guard' of closes_over is a _thread\.lock",
    ):
        table.pickle(closes_over)
    notebook.run("import threading\nlock = threading.Lock()\ndef f(x):\n    with lock: return x")
    with pytest.raises(ArgumentNotSerializable, match=r"variable 'lock' of f is a _thread\.lock"):
        table.pickle(notebook["f"])
    with pytest.raises(ArgumentNotSerializable, match="argument 0"):
        table.pickle(functools.partial(print, guard))


def test_large_variables_are_warned_of_by_name(table: FunctionTable) -> None:
    data, small = np.zeros(3 << 20, dtype="u1"), 1

    def f() -> Any:
        return data[small]

    with pytest.warns(LargePayload, match=r"mostly variable 'data': 3\.0 MiB.*scatter") as caught:
        table.pickle(f)
    assert caught[0].filename == __file__, "it points at the user's line"
    data = np.zeros(65 << 20, dtype="u1")
    with pytest.raises(PayloadTooLarge, match=r"mostly variable 'data': 65 MiB.*scatter"):
        table.pickle(f)
