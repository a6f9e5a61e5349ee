"""Failures of tasks, as they come over the wire, into exceptions for people.

Law: a user's own exception keeps its type, with the remote traceback as its cause, so that a
notebook shows both; everything else becomes one of errors.py, whose text names the cause and the
remedy. What would end this process if it were raised here (SystemExit, KeyboardInterrupt) never is.
"""

from __future__ import annotations

from ..errors import (
    DataLost,
    ExecutorDied,
    ResultNotSerializable,
    StoreFull,
    TaskCancelled,
    TaskError,
)
from ..executor import values
from ..messages import Failure
from .state import FailedTasks

_KINDS: dict[str, type[Exception]] = {
    "cancelled": TaskCancelled,
    "crashed": ExecutorDied,
    "lost": DataLost,
    "unserializable": ResultNotSerializable,
    "store": StoreFull,
    "timeout": TimeoutError,
}
_SHOWN_LOG_LINES = 10


class RemoteTraceback(Exception):
    """Where a task's exception was raised, as text: the cause of the exception that the client
    raises.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text.rstrip()}"


def exception_of(record: FailedTasks, task: str) -> BaseException:
    """Return the exception of a failure: always the same object. `task` names the task in words."""
    if record.exception is None:
        record.exception = make_exception(record, task)
    return record.exception


def make_exception(record: FailedTasks, task: str) -> BaseException:
    """Return the exception that a failure stands for; `task` names the task in words."""
    failure = record.failure
    kind = failure.get("kind", "")
    if kind == "raised":
        error = _user_exception(failure, task)
    else:
        error = _KINDS.get(kind, TaskError)(_text_of(failure, task))
    where = f" on {failure['worker']}" if failure.get("worker") else ""
    origin = failure.get("origin")
    if origin:
        error.add_note(f"{task} depends on a task that failed{where}")
    elif kind == "raised":
        error.add_note(f"raised by task {task}{where}")
    return error


def _user_exception(failure: Failure, task: str) -> BaseException:
    text = failure.get("text") or f"{task} raised an exception"
    traceback = failure.get("traceback") or ""
    blob = failure.get("exception")
    error: BaseException
    try:
        loaded = values.load_blob(blob) if blob else None
    except Exception as reason:
        text += f" (it cannot be unpickled here: {type(reason).__name__}: {reason})"
        loaded = None
    if isinstance(loaded, Exception):
        error = loaded
    elif isinstance(loaded, SystemExit):
        code = f"({loaded.code!r})" if loaded.code is not None else "()"
        error = TaskError(f"{task} called sys.exit{code}: a task ends by return or by raise")
    else:
        error = TaskError(text)
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error


def _text_of(failure: Failure, task: str) -> str:
    text: str = (
        failure.get("text") or f"{task} failed ({failure.get('kind', 'no reason was given')})"
    )
    if failure.get("kind") == "crashed":
        log = [line for line in failure.get("log") or () if line not in text]
        if log:
            text += "\nIts last lines:\n  " + "\n  ".join(log[-_SHOWN_LOG_LINES:])
    return text
