"""The engine: one scheduler, many workers, a futures client.

It knows nothing of Jupyter's user interfaces: they use it.
"""

from __future__ import annotations

if __name__ != "cellspan.engine":  # a second copy of every class otherwise
    raise ImportError(f"import this as cellspan.engine, not as {__name__}")
