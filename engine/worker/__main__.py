"""``python -m cellspan.engine.worker CONFIG.json``: run one worker.

Law: reads its configuration, logs to standard error, and says in one line why it ended.
"""

from __future__ import annotations

import logging
import sys

from ..errors import CellspanError
from .config import read_config
from .server import run_worker


def main(arguments: list[str]) -> int:
    """Run a worker; return its exit code."""
    if len(arguments) != 1:
        print("usage: python -m cellspan.engine.worker CONFIG.json", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        run_worker(read_config(arguments[0]))
    except (CellspanError, OSError) as error:
        print(f"the worker could not run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
