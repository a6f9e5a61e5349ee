"""What futures look like, as text and in a notebook.

Law: colours and fonts come from JupyterLab's own variables, with fallbacks that suit light and
dark; everything from outside is escaped. Never waits, never asks the scheduler, never raises for a
future in any state.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client
    from .futures import Future, Futures

_COLOURS = {
    "done": "var(--jp-success-color1, #388e3c)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "cancelled": "var(--jp-warn-color1, #f57c00)",
    "disconnected": "var(--jp-warn-color1, #f57c00)",
    "pending": "var(--jp-brand-color1, #1976d2)",
    "released": "var(--jp-ui-font-color3, #888)",
}
_BOX = (
    "display:inline-block;padding:4px 10px;border:1px solid var(--jp-border-color2, "
    "#8884);border-radius:3px;"
    "font-family:var(--jp-ui-font-family, sans-serif);font-size:var(--jp-ui-font-size1, 13px);"
    "color:var(--jp-ui-font-color1, inherit)"
)
_DIM = "color:var(--jp-ui-font-color2, inherit)"


def future_text(future: Future) -> str:
    """Return a line like ``<Future square[17]: done, int>``."""
    return f"<Future {future.name}: {_state_of(future)}>"


def future_html(future: Future) -> str:
    """Return the line as HTML with a coloured dot."""
    colour = _COLOURS.get(future.status, _COLOURS["released"])
    return (
        f'<div style="{_BOX}"><span style="color:{colour}">●</span> '
        f"<b>{escape(future.name)}</b> <span "
        f'style="{_DIM}">{escape(_state_of(future))}</span></div>'
    )


def futures_text(futures: Futures) -> str:
    """Return a line like ``<Futures square: 1,000 tasks, 17 done>``."""
    return f"<Futures {futures.group_name}: {', '.join(_counts(futures))}>"


def futures_html(futures: Futures) -> str:
    """Return the counts with a bar as HTML."""
    total, done, failed = _numbers(futures)
    parts = "".join(
        f'<div style="width:{100 * part / total:.2f}%;background:{_COLOURS[state]}"></div>'
        for state, part in (("done", done), ("failed", failed))
        if total and part
    )
    bar = (
        f'<div role="img" aria-label="{done} of {total} done, {failed} failed" '
        'style="display:flex;height:5px;'
        f'margin-top:4px;background:var(--jp-layout-color3, #8883)">{parts}</div>'
    )
    return (
        f'<div style="{_BOX};min-width:220px"><b>{escape(futures.group_name)}</b> '
        f'<span style="{_DIM}">{escape(", ".join(_counts(futures)))}</span>{bar}</div>'
    )


def client_text(client: Client) -> str:
    """Return a line like ``<Client of cluster 'local': 3 groups>``."""
    if client.closed is not None:
        return f"<Client of cluster {client.cluster_name!r}: closed>"
    return f"<Client of cluster {client.cluster_name!r}: {_plural(client.group_count, 'group')}>"


def client_html(client: Client) -> str:
    """Return the line as HTML with a coloured dot."""
    is_closed = client.closed is not None
    colour = _COLOURS["released" if is_closed else "done"]
    state = "closed" if is_closed else _plural(client.group_count, "group")
    return (
        f'<div style="{_BOX}"><span style="color:{colour}">●</span> <b>cluster '
        f"{escape(client.cluster_name)}</b> "
        f'<span style="{_DIM}">client {escape(client.name)}, {state}</span></div>'
    )


def _state_of(future: Future) -> str:
    status = future.status
    if status == "done":
        block = future._group.blocks.find(future.index)
        if block is None or block.values is None:
            return status
        return f"done, {type(block.values[future.index - block.start]).__name__}"
    if status in ("failed", "cancelled"):
        record = future._group.failed.find(future.index)
        text = str(record.failure.get("text") or "") if record is not None else ""
        first = text.strip().splitlines()[0] if text.strip() else ""
        return f"{status}: {first[:100]}" if first else status
    return status


def _numbers(futures: Futures) -> tuple[int, int, int]:
    group = futures._group
    total = len(futures)
    if not total:
        return 0, 0, 0
    with group.session.lock:
        done = sum(group.done.count_in(a, b) for a, b in futures.runs())
        failed = sum(d - c for a, b in futures.runs() for c, d, _ in group.failed.items_in(a, b))
    return total, done, failed


def _counts(futures: Futures) -> list[str]:
    total, done, failed = _numbers(futures)
    texts = [_plural(total, "task"), f"{done:,} done"]
    return [*texts, f"{failed:,} failed"] if failed else texts


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
