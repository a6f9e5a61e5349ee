"""Putting a view into a page: as a JSON item for a page that has BokehJS, or as a page of its own.

Law: nothing of a cluster is asked or kept here, and no picture is altered but for its colours.
"""

from __future__ import annotations

import html
import json
from typing import Any

from bokeh.embed import json_item
from bokeh.models import ColumnDataSource
from bokeh.resources import Resources

from ..snapshot import Snapshot
from .base import INKS, Theme, View

APPLY_INKS = """
function applyInks(models, inks) {
  for (const model of models) {
    for (const tag of model.tags) {
      const [role, property] = String(tag).split(':');
      if (role in inks && property in model.properties) {
        model.setv({[property]: inks[role]});
      }
    }
  }
}
"""
"""How a page gives its colours to what glyphs draw: `models` are all of a document, `inks` maps a
role to a CSS colour."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
{resources}
<style>
{colors}
body {{
  margin: 16px;
  font: 14px system-ui, sans-serif;
  background: var(--paper);
  color: var(--ink);
  --bk-major-label-text-color: var(--muted);
  --bk-axis-label-text-color: var(--muted);
  --bk-axis-line-color: var(--rule);
  --bk-major-tick-line-color: var(--rule);
  --bk-grid-line-color: var(--rule);
}}
h1 {{ font-size: 16px; font-weight: 600; margin: 0 0 12px; }}
</style>
</head>
<body>
<h1>{heading}</h1>
<div id="view"></div>
<script>
{apply_inks}
const item = {item};
Bokeh.embed.embed_item(item, 'view').then((manager) => {{
  const style = getComputedStyle(document.body);
  const inks = {{}};
  for (const role of {roles}) {{
    inks[role] = style.getPropertyValue('--' + role).trim();
  }}
  for (const view of manager) {{
    applyInks(view.model.document.all_models, inks);
  }}
}});
</script>
</body>
</html>
"""


def item_of(
    view: View, theme: Theme | None, snapshot: Snapshot | None, *, final: bool = False
) -> dict[str, Any]:
    """Return a view as a JSON item, its sources filled if a snapshot is given.

    With `final` that snapshot is the last one: the figure is as large as it needs.
    """
    figure = view.figure(theme)
    if final and snapshot is not None and view.fit is not None:
        view.fit(figure, snapshot)
    if snapshot is not None:
        for name, columns in view.columns(snapshot).items():
            source = figure.select_one({"type": ColumnDataSource, "name": name})
            source.data = columns
    item: dict[str, Any] = dict(json_item(figure))
    return item


def page_of(view: View, snapshot: Snapshot, theme: Theme | None, *, inline: bool) -> str:
    """Return a page that shows a view of one snapshot."""
    heading = f"{snapshot.cluster}: {view.title}"
    return _PAGE.format(
        title=html.escape(heading),
        heading=html.escape(heading),
        resources=Resources("inline" if inline else "cdn", components=["bokeh"]).render(),
        colors=_colors_of(theme),
        apply_inks=APPLY_INKS,
        item=_script_json(item_of(view, theme, snapshot, final=True)),
        roles=_script_json(list(INKS["light"])),
    )


def _colors_of(theme: Theme | None) -> str:
    """Return the rules for a page's colours: of a theme, or of the one the reader prefers."""

    def rule(scheme: Theme) -> str:
        values = [f"--{role}: {color};" for role, color in INKS[scheme].items()]
        return f":root {{ color-scheme: {scheme}; {' '.join(values)} }}"

    if theme is not None:
        return rule(theme)
    return f"{rule('light')}\n@media (prefers-color-scheme: dark) {{ {rule('dark')} }}"


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the script it stands in, whatever users called their groups."""
    text: str = json.dumps(value)
    return text.replace("<", "\\u003c")
