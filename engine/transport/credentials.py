"""What lets a process into a cluster that listens on TCP.

Law: data only; a key is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM texts: the cluster's certificate authority, and a certificate of it with its key."""

    ca: str
    cert: str
    key: str

    def __repr__(self) -> str:
        return "Credentials(...)"  # a key has no place in a log
