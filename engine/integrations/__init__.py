"""cellspan inside the libraries that people already use: `concurrent.futures`, joblib, Dask.

Law: adapters only. They stand on the client as any user's code could, decide nothing about
placement, and translate words and errors in both directions. Each third party is imported by its
own module, and that module when it is first used: who does not use joblib or Dask never loads them,
and need not have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor import ClientExecutor
    from .joblib import register_joblib

__all__ = ["ClientExecutor", "register_joblib"]


def __getattr__(name: str) -> Any:
    if name == "ClientExecutor":
        from .executor import ClientExecutor

        return ClientExecutor
    if name == "register_joblib":
        from .joblib import register_joblib

        return register_joblib
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
