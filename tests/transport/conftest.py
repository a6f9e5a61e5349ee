"""One place to listen at, and credentials for it, of each carrier."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from cellspan.engine.transport.certificates import make_credentials

from .support import Carrier


@pytest.fixture(params=["memory", "unix", "tls"])
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    if request.param == "memory":
        yield Carrier("memory://test")
    elif request.param == "tls":
        made = make_credentials("c1", ("scheduler", "client"))
        yield Carrier("tls://127.0.0.1:0", made["scheduler"], made["client"])
    else:
        with tempfile.TemporaryDirectory(prefix="cs-") as folder:
            yield Carrier(f"unix://{folder}/s")
