"""Progress in a real kernel on a real cluster: what a front end is told, and when."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from cellspan.engine.deploy import manager

WIDGET = "application/vnd.jupyter.widget-view+json"

START = """
%load_ext cellspan
%cluster start demo --cores 1
"""
# The group ends when the file is there: no time is guessed.
SUBMIT = """
import os, pathlib, tempfile, time
from cellspan import progress
gate = pathlib.Path(tempfile.mkdtemp()) / "open"
def wait_for_gate(i, gate):
    while not gate.exists():
        time.sleep(0.01)
    if i == 3:
        raise ValueError("no luck")
    return i
futures = client.map(wait_for_gate, range(40), gate=gate)
"""


CELL_TIMEOUT_S = 60.0


class Kernel:
    """A real Jupyter kernel; runs cells and keeps what it says."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=CELL_TIMEOUT_S)
        self.heard: list[dict[str, Any]] = []

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell; return all that came on the iopub channel until it was over, in order."""
        request = self.client.execute(code, store_history=True)
        begin = len(self.heard)
        deadline = time.monotonic() + CELL_TIMEOUT_S
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=CELL_TIMEOUT_S)
            self.heard.append(message)
            mine = message["parent_header"].get("msg_id") == request
            if mine and message["content"].get("execution_state") == "idle":
                return self.heard[begin:]
        raise TimeoutError(f"the cell did not end: {code}")

    def listen(self, until: str, timeout_s: float = CELL_TIMEOUT_S) -> dict[str, Any]:
        """Return the next message of this type that comes, without any cell running."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            self.heard.append(message)
            if message["msg_type"] == until:
                return message
        raise TimeoutError(f"no {until} came")

    def restart(self) -> None:
        """End the kernel as the button does, and start another in its place."""
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=CELL_TIMEOUT_S)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def texts(messages: list[dict[str, Any]], stream: str = "stdout") -> str:
    """Return what was printed."""
    return "".join(
        m["content"]["text"]
        for m in messages
        if m["msg_type"] == "stream" and m["content"]["name"] == stream
    )


def of_type(messages: list[dict[str, Any]], msg_type: str) -> list[dict[str, Any]]:
    """Return the contents of all messages of a type."""
    return [m["content"] for m in messages if m["msg_type"] == msg_type]


@pytest.fixture
def kernel(runtime: Path) -> Iterator[Kernel]:
    """A kernel that sees only the clusters of this test."""
    one = Kernel()
    yield one
    one.close()
    for info in manager.list_clusters():
        manager.stop_cluster(info.name)


def drawings(messages: list[dict[str, Any]], model_id: str) -> list[str]:
    """Return the HTML of each update of a widget."""
    states = [
        content["data"].get("state", {})
        for content in of_type(messages, "comm_msg")
        if content["comm_id"] == model_id
    ]
    return [state["value"] for state in states if "value" in state]


def test_it_moves_while_the_kernel_is_busy_and_while_it_is_idle(kernel: Kernel) -> None:
    assert "is running" in texts(kernel.run(START))
    shown = kernel.run(SUBMIT + "progress(futures)")
    (output,) = of_type(shown, "display_data")
    assert of_type(shown, "execute_result") == []  # one display, not two
    model_id = output["data"][WIDGET]["model_id"]
    assert "0 / 40 done" in output["data"]["text/plain"]

    # Busy: the only thread that runs cells is blocked, and yet there is news.
    begin = len(kernel.heard)
    busy = kernel.run("gate.touch()\nresults = [f.exception(20) for f in futures]")
    assert of_type(busy, "error") == []
    while not of_type(kernel.heard[begin:], "update_display_data"):
        kernel.listen("update_display_data")
    last = drawings(kernel.heard, model_id)[-1]
    assert "39 / 40" in last
    assert re.search(r'has-failed">1</td>', last)

    # At the end the output is no widget any more, so that it can be read in a saved notebook.
    (final,) = of_type(kernel.heard[begin:], "update_display_data")
    assert final["transient"]["display_id"] == output["transient"]["display_id"]
    assert set(final["data"]) == {"text/html", "text/plain"}
    assert "39 / 40 done (100 %)  1 failed  done in" in final["data"]["text/plain"]
    threads = kernel.run("import threading; print([t.name for t in threading.enumerate()])")
    assert "cellspan-progress" not in texts(threads)


def test_a_blocking_cell_does_not_hold_it_up(kernel: Kernel) -> None:
    kernel.run(START)
    messages = kernel.run(
        "import time\nfrom cellspan import progress\n"
        "futures = client.map(lambda i: time.sleep(0.02), range(100))\n"
        "progress(futures)\nclient.gather(futures)\nNone"
    )
    assert of_type(messages, "error") == []
    (output,) = of_type(messages, "display_data")
    seen = drawings(messages, output["data"][WIDGET]["model_id"])
    counts = [int(found[1]) for html in seen if (found := re.search(r"<td>(\d+) / 100</td>", html))]
    between = {count for count in counts if 0 < count < 100}
    assert len(between) >= 3, counts  # two seconds of work, about five drawings a second
    assert counts == sorted(counts)


def test_it_rests_while_its_output_is_on_no_page(kernel: Kernel) -> None:
    kernel.run(START)
    shown = kernel.run(SUBMIT + "shown = progress(futures)")
    (output,) = of_type(shown, "display_data")
    model_id = output["data"][WIDGET]["model_id"]
    for count in (1, 0):  # the page shows it, then the output is cleared
        kernel.client.shell_channel.send(
            kernel.client.session.msg(
                "comm_msg",
                {
                    "comm_id": model_id,
                    "data": {
                        "method": "update",
                        "state": {"_view_count": count},
                        "buffer_paths": [],
                    },
                },
            )
        )
    before = len(drawings(kernel.heard, model_id))
    done = kernel.run("gate.touch()\nprint(shown.wait(20))")
    assert "True" in texts(done)
    after = drawings(kernel.heard, model_id)
    assert len(after) - before <= 2  # not one for each look: at most one under way, and the last
    assert "39 / 40" in after[-1]


def test_without_futures_it_shows_the_groups_of_the_client(kernel: Kernel) -> None:
    kernel.run(START)
    messages = kernel.run(
        "from cellspan import progress\n"
        "def first(i): return i\n"
        "def second(i): return i\n"
        "a = client.map(first, range(10)); b = client.map(second, range(20))\n"
        "client.gather(b); client.gather(a)\n"
        "progress()"
    )
    (output,) = of_type(messages, "display_data")
    text = output["data"]["text/plain"]
    assert "first" in text and "10 / 10 done" in text
    assert "second" in text and "20 / 20 done" in text
    assert WIDGET not in output["data"]  # all has ended: static at once


def test_a_cluster_outlives_the_restart_of_its_kernel(kernel: Kernel) -> None:
    said = texts(kernel.run(START))
    assert "It ends with the Jupyter server" in said
    before = manager.find_cluster("demo")
    assert before.kernel_id is not None
    kernel.restart()
    messages = kernel.run(
        "%load_ext cellspan\n%cluster attach\nprint(client.submit(pow, 2, 8).result(20))"
    )
    assert "The variable `client` is its client." in texts(messages)
    assert "256" in texts(messages)
    assert manager.find_cluster("demo").pid == before.pid


def test_what_has_no_progress_is_refused_in_words(kernel: Kernel) -> None:
    messages = kernel.run("from cellspan import progress\nprogress(5)")
    (error,) = of_type(messages, "error")
    assert error["ename"] == "TypeError"
    assert "progress() cannot show a int" in error["evalue"]


def test_a_cluster_that_ends_ends_the_display(kernel: Kernel) -> None:
    kernel.run(START)
    kernel.run(SUBMIT + "shown = progress(futures)")
    messages = kernel.run("%cluster stop\nprint(shown.wait(20))")
    assert "True" in texts(messages)
    if not of_type(kernel.heard, "update_display_data"):
        kernel.listen("update_display_data")
    (final,) = of_type(kernel.heard, "update_display_data")
    assert "No longer updated" in final["data"]["text/plain"]


def test_a_view_in_the_output_carries_its_picture(kernel: Kernel) -> None:
    kernel.run(START)
    kernel.run("futures = client.map(abs, range(30)); client.gather(futures)")
    messages = kernel.run("%cluster view groups")
    (output,) = of_type(messages, "display_data")
    view = output["data"]["application/vnd.cellspan.view.v1+json"]
    assert (view["cluster"], view["view"]) == ("demo", "groups")
    item = json.loads(view["item"])  # text: its order of keys survives the saving of a notebook
    assert "abs" in str(item["doc"])
    assert "30 / 30 done" in output["data"]["text/plain"]
    assert "cellspan-progress" in output["data"]["text/html"]


def test_tracked_futures_have_a_widget_and_the_cell_goes_on(kernel: Kernel) -> None:
    kernel.run(START)
    messages = kernel.run(
        "total = 0\n"
        "for future in client.track(client.map(abs, range(-40, 0)), label='distances'):\n"
        "    total += future.result()\n"
        "print(total)"
    )
    assert of_type(messages, "error") == [] and texts(messages) == "820\n"
    assert texts(messages, "stderr") == ""
    (output,) = of_type(messages, "display_data")
    assert WIDGET in output["data"] and "distances" in output["data"]["text/plain"]
    (final,) = of_type(messages, "update_display_data")
    assert "40 / 40 done (100 %)" in final["data"]["text/plain"]
