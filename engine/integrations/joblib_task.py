"""What runs in an executor for the joblib backend.

Law: travels by value, so it stands on joblib alone and imports it where it runs.
"""

from __future__ import annotations

from typing import Any


def run(
    args: tuple[Any, ...], kwargs: dict[str, Any], function: Any, backend: Any, n_jobs: int | None
) -> Any:
    """Call a function of joblib's user; `backend` and `n_jobs` are for `Parallel` calls inside of
    it.
    """
    from joblib import parallel_config

    with parallel_config(backend=backend, n_jobs=n_jobs):
        return function(*args, **kwargs)
