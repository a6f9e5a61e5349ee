"""How an executor ended, and what is said of it to the user whose task it was running.

Law: words only; whom to blame is the core's decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import Failure


@dataclass(slots=True)
class Death:
    """How an executor ended. `page_piece`, `page_index`: what its page said it was running (0:
    nothing)."""

    page_piece: int
    page_index: int
    exit_code: int | None
    signal: str | None
    oom: bool
    log: list[str]


def describe(name: str, index: int, what: str, death: Death, worker: str) -> Failure:
    """Return the failure of task `index` of the group `name`, which ended its executor."""
    text = f"task {index} of {name!r} ended its executor process on {worker}: {what}"
    if death.oom:
        text += "; the system had run out of memory"
    if death.log:
        text += f"; its last words: {death.log[-1][:300]}"
    failure: Failure = {"kind": "crashed", "text": text, "worker": worker, "oom": death.oom}
    failure["log"] = death.log
    if death.exit_code is not None:
        failure["exit_code"] = death.exit_code
    if death.signal is not None:
        failure["signal"] = death.signal
    return failure
