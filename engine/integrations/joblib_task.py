"""What runs in an executor for the joblib backend.

Law: travels by value, so it stands on joblib alone and imports it where it runs.
"""

from __future__ import annotations

from typing import Any


class Runner:
    """Makes calls of a function of joblib's user, one after the other: those of one task.

    `backend` and `n_jobs` are for `Parallel` calls inside of them.
    """

    def __init__(self, function: Any, backend: Any, n_jobs: int | None) -> None:
        self.function = function
        self.backend = backend
        self.n_jobs = n_jobs

    def __call__(self, calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Any:
        """Return the seconds that it took, and the results."""
        from time import perf_counter

        from joblib import parallel_config

        function = self.function
        with parallel_config(backend=self.backend, n_jobs=self.n_jobs):
            began = perf_counter()
            results = [function(*args, **kwargs) for args, kwargs in calls]
            return perf_counter() - began, results
