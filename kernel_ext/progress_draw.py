"""Draws progress rows as HTML for notebooks and as lines for terminals.

Law: pure functions from rows to text. Colours come from Jupyter's theme variables with a fallback
that reads on white and on black; no number is told by colour alone; the size of what is drawn is
bounded by the rows it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .formats import UNKNOWN, format_count, format_rate, format_seconds
from .progress_rows import Row

NAME_WIDTH = 28
BAR_WIDTH = 24

# Scoped by class, since a style element in an output holds for the whole page.
STYLE = """<style>
.cellspan-progress { color: var(--jp-ui-font-color1, inherit);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  font-size: var(--jp-ui-font-size1, 13px); line-height: 1.4; overflow-x: auto; }
.cellspan-progress table { border-collapse: collapse; margin: 0; width: 100%; max-width: 68em;
  table-layout: auto; border: none; font-size: inherit; color: inherit; }
.cellspan-progress table tbody tr:nth-child(n) { background: none; }
.cellspan-progress table th, .cellspan-progress table td { border: none; padding: 3px 8px;
  line-height: 1.4; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
  vertical-align: middle; min-width: 4.2em; }
.cellspan-progress table td:last-child { min-width: 7.5em; }
.cellspan-progress table thead th { font-weight: normal; color: var(--jp-ui-font-color2, #767676);
  border-bottom: 1px solid var(--jp-border-color2, #9e9e9e); }
.cellspan-progress table th.cellspan-name { text-align: left; font-weight: 600; max-width: 18em;
  overflow: hidden; text-overflow: ellipsis; }
.cellspan-progress table thead th.cellspan-name { font-weight: normal; }
.cellspan-progress table td.cellspan-bar { width: 50%; min-width: 8em; }
.cellspan-progress .cellspan-track { display: flex; height: 0.8em; overflow: hidden;
  border-radius: 3px; background: var(--jp-layout-color3, rgba(128, 128, 128, 0.3)); }
.cellspan-progress .cellspan-done { background: var(--jp-brand-color1, #1976d2); }
.cellspan-progress .cellspan-finished .cellspan-done {
  background: var(--jp-success-color1, #388e3c); }
.cellspan-progress .cellspan-failed { background: var(--jp-error-color1, #d32f2f); min-width: 3px; }
.cellspan-progress .cellspan-running { background: var(--jp-brand-color1, #1976d2); opacity: 0.35; }
.cellspan-progress table td.cellspan-has-failed {
  color: var(--jp-error-color1, #d32f2f); font-weight: 600; }
.cellspan-progress .cellspan-note { color: var(--jp-ui-font-color2, #767676); padding: 3px 8px; }
</style>"""

HEADINGS = {
    "Done": "tasks with a result, of all",
    "Running": "on the slots of workers, as far as the scheduler can tell",
    "Waiting": "for a worker, or for what they need",
    "Failed": "without a result, cancelled ones included",
    "Rate": "tasks done per unit of time, lately",
    "Time left": "at this rate",
}
"""Heading of each column, and its tooltip."""


def draw_html(rows: Sequence[Row], note: str = "") -> str:
    """Return the whole display; `note` is a sentence below the table."""
    if not rows:
        body = ""
        note = note or "No tasks yet."
    else:
        heads = "".join(
            f'<th scope="col" title="{meaning}">{text}</th>' for text, meaning in HEADINGS.items()
        )
        body = (
            '<table aria-label="Progress by group"><thead><tr>'
            '<th scope="col" class="cellspan-name">Group</th>'
            f'<th scope="col" aria-label="Share done"></th>{heads}</tr></thead>'
            f"<tbody>{''.join(_html_row(row) for row in rows)}</tbody></table>"
        )
    if note:
        body += f'<div class="cellspan-note">{escape(note)}</div>'
    return f'{STYLE}<div class="cellspan-progress">{body}</div>'


def _html_row(row: Row) -> str:
    name = escape(row.name, quote=True)
    cells = (
        f"{format_count(row.done)} / {format_count(row.total)}",
        format_count(row.running),
        format_count(row.waiting),
        None,
        format_rate(row.rate),
        describe_time(row),
    )
    failed_class = ' class="cellspan-has-failed"' if row.failed else ""
    failed = f"<td{failed_class}>{format_count(row.failed)}</td>"
    numbers = "".join(failed if text is None else f"<td>{text}</td>" for text in cells)
    finished = " cellspan-finished" if row.is_finished else ""
    return (
        f'<tr><th scope="row" class="cellspan-name" title="{name}">{name}</th>'
        f'<td class="cellspan-bar"><div class="cellspan-track{finished}" role="progressbar" '
        f'aria-label="{name}" aria-valuemin="0" aria-valuemax="{row.total}" '
        f'aria-valuenow="{row.done + row.failed}" aria-valuetext="{describe_share(row)}">'
        f"{_segment('done', row.done, row)}{_segment('failed', row.failed, row)}"
        f"{_segment('running', row.running, row)}</div></td>{numbers}</tr>"
    )


def _segment(kind: str, count: int, row: Row) -> str:
    if not count or not row.total:
        return ""
    return f'<div class="cellspan-{kind}" style="width: {100 * count / row.total:.2f}%"></div>'


def describe_share(row: Row) -> str:
    """Return what the bar shows, in words."""
    text = f"{format_count(row.done)} of {format_count(row.total)} done"
    return f"{text}, {format_count(row.failed)} failed" if row.failed else text


def describe_time(row: Row) -> str:
    """Return the time left, or how long the group took once all of it has ended."""
    if row.is_finished:
        return "done" if row.took_s is None else f"done in {format_seconds(row.took_s)}"
    return UNKNOWN if row.eta_s is None else format_seconds(row.eta_s)


def draw_lines(rows: Sequence[Row], *, bar: bool = True) -> list[str]:
    """Return one line per group: name, bar, done of all, share, and whatever else is not zero."""
    if not rows:
        return ["No tasks yet."]
    width = min(NAME_WIDTH, max(len(row.name) for row in rows))
    return [_line(row, width, bar) for row in rows]


def _line(row: Row, width: int, bar: bool) -> str:
    name = row.name if len(row.name) <= width else row.name[: width - 1] + "…"
    share = (row.done + row.failed) / row.total if row.total else 1.0
    percent = 100 if row.is_finished else min(99, int(100 * share))  # never 100 before the end
    parts = [f"{name:<{width}}"]
    if bar:
        parts.append(_text_bar(row))
    parts.append(f"{format_count(row.done)} / {format_count(row.total)} done ({percent} %)")
    if row.running:
        parts.append(f"{format_count(row.running)} running")
    if row.waiting:
        parts.append(f"{format_count(row.waiting)} waiting")
    if row.failed:
        parts.append(f"{format_count(row.failed)} failed")
    if not row.is_finished and row.rate:
        parts.append(format_rate(row.rate))
    if row.is_finished:
        parts.append(describe_time(row))
    elif row.eta_s is not None:
        parts.append(f"{format_seconds(row.eta_s)} left")
    return "  ".join(parts)


def _text_bar(row: Row) -> str:
    total = max(1, row.total)
    done = BAR_WIDTH * row.done // total
    failed = -(-BAR_WIDTH * row.failed // total)  # even a single failure shows
    failed = min(failed, BAR_WIDTH - done)
    return f"[{'#' * done}{'x' * failed}{'.' * (BAR_WIDTH - done - failed)}]"
