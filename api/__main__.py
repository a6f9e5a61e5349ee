"""`python -m cellspan` is the command line, like the `cellspan` script."""

from __future__ import annotations

import sys

from cellspan import _refuse_windows

_refuse_windows()

from cellspan.engine.deploy.cli import main  # noqa: E402  (it needs what Windows lacks)

sys.exit(main())
