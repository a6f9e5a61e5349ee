"""A small table that reads well in a notebook (HTML) and in a terminal (text).

Law: knows nothing of what it shows; every cell is text and is escaped. Themed by Jupyter's own
table style, so it needs no colours of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


class Table:
    """Headings and rows of text; columns named in `right` are aligned to the right."""

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[str] = (),
        note: str = "",
    ) -> None:
        """`note` is a sentence below the table, or all there is if there are no rows."""
        self.headings = list(headings)
        self.rows = [list(row) for row in rows]
        self.note = note
        self._right = [heading in right for heading in headings]

    def __repr__(self) -> str:
        lines: list[str] = []
        if self.rows:
            table = [self.headings, *self.rows]
            widths = [max(len(row[i]) for row in table) for i in range(len(self.headings))]
            lines = [self._text_row(row, widths) for row in table]
        if self.note:
            lines.append(self.note)
        return "\n".join(lines)

    def _text_row(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, self._right, strict=True)
        )
        return "  ".join(cells).rstrip()

    def _repr_html_(self) -> str:
        html = ""
        if self.rows:
            head = self._html_row(self.headings, "th", ' scope="col"')
            body = "".join(self._html_row(row, "td") for row in self.rows)
            html = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
        return f"{html}<div>{escape(self.note)}</div>" if self.note else html

    def _html_row(self, row: Sequence[str], tag: str, attributes: str = "") -> str:
        sides = ("right" if right else "left" for right in self._right)
        cells = (
            f'<{tag}{attributes} style="text-align: {side}">{escape(text)}</{tag}>'
            for text, side in zip(row, sides, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"
