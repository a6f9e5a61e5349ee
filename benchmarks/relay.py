"""What four processes need at least to pass a message to and fro, and what a message costs alone.

    python -m benchmarks.relay

The floor under `submit -> result`: a client, two relays and an echo pass 70 bytes along and back
over unix socket pairs and do nothing else; the relays read in a blocking way, by a bare reader of
asyncio's loop, or by asyncio's transports. Then, in a tight loop and as processor time: a message
encoded and decoded, and all that the scheduler's core does for one task. Linux, forks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import time
import timeit
from collections.abc import Callable

from cellspan.engine import codec
from cellspan.engine.ids import make_group_id
from cellspan.engine.messages import ExtendGroup, ReleaseTasks, RunSpan, SpanDone, SubmitGroup
from cellspan.engine.scheduler.core import SchedulerCore

PAYLOAD = b"x" * 70
WARM_TRIPS = 300
TRIPS = 3000
LOOPS = 20_000

Pass = Callable[[socket.socket, socket.socket], None]


def relay_blocking(left: socket.socket, right: socket.socket) -> None:
    """Pass on in turns, as a round trip does."""
    while True:
        right.send(left.recv(65536))
        left.send(right.recv(65536))


def relay_by_readers(left: socket.socket, right: socket.socket) -> None:
    """Pass on what a loop says is readable."""
    loop = asyncio.new_event_loop()
    for source, target in ((left, right), (right, left)):
        source.setblocking(False)
        loop.add_reader(source, lambda s=source, t=target: t.send(s.recv(65536)))  # type: ignore[misc]
    loop.run_forever()


class Relay(asyncio.Protocol):
    """Writes what comes to the other transport."""

    def __init__(self) -> None:
        self.target: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert self.target is not None
        self.target.write(data)


def relay_by_transports(left: socket.socket, right: socket.socket) -> None:
    """Pass on between two of asyncio's transports."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        one, two = Relay(), Relay()
        two.target, _ = await loop.create_unix_connection(lambda: one, sock=left)
        one.target, _ = await loop.create_unix_connection(lambda: two, sock=right)
        await loop.create_future()

    asyncio.run(serve())


def echo(left: socket.socket, _: socket.socket) -> None:
    """Send back what comes."""
    while True:
        left.send(left.recv(65536))


def fork(run: Pass, left: socket.socket, right: socket.socket) -> int:
    """Run something in a process of its own, for ever; return its pid."""
    pid = os.fork()
    if not pid:
        try:
            run(left, right)
        finally:
            os._exit(1)
    return pid


def floor_us(relay: Pass) -> float:
    """Return the median round trip through two relays to an echo and back, in microseconds."""
    pairs = [socket.socketpair() for _ in range(3)]
    client = pairs[0][0]
    client.settimeout(10)
    pids = [
        fork(relay, pairs[0][1], pairs[1][0]),
        fork(relay, pairs[1][1], pairs[2][0]),
        fork(echo, pairs[2][1], pairs[2][1]),
    ]
    try:
        time.sleep(0.3)  # both transports of a relay have to stand before the first byte
        found = []
        for _ in range(WARM_TRIPS + TRIPS):
            start = time.perf_counter()
            client.send(PAYLOAD)
            client.recv(65536)
            found.append((time.perf_counter() - start) * 1e6)
        return statistics.median(found[WARM_TRIPS:])
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def tight_us(run: Callable[[], object]) -> float:
    """Return what a call takes in a tight loop, in microseconds."""
    return min(timeit.repeat(run, time.process_time, number=LOOPS, repeat=5)) / LOOPS * 1e6


class CoreTrip:
    """One task after the other through a scheduler's core: submitted, placed, done; every twentieth
    time the last twenty are let go of."""

    def __init__(self) -> None:
        info = {"name": "w", "slots": 2, "memory_limit_bytes": 1 << 30, "address": "unix:///w"}
        self.core = SchedulerCore()
        self.core.add_client(1, {"name": "c"}, 0.0)
        self.core.add_worker(2, {**info, "host": "h", "pid": 1, "topology": "/h"}, 0.0)
        self.group, self.done = make_group_id(1, 1), 0
        layer = {"kind": "graph", "function": b"f" * 16}
        self.core.handle(1, SubmitGroup(self.group, "f", layer, {b"f" * 16: b""}, {}, True), 0.0)

    def __call__(self) -> None:
        core, group, at, now = self.core, self.group, self.done, self.done * 1e-3
        core.handle(1, ExtendGroup(group, at, 1, b"p", b"\1\0\0\0", b"", b"", b""), now)
        core.place(now)
        run = core.take_sends()[-1][1]
        assert isinstance(run, RunSpan)
        block = [at, at + 1, True, [b"."]]
        report = SpanDone(run.assignment, group, at, at + 1, 1, 1e-6, [1, 1], [block])
        core.handle(2, report, now)
        core.place(now)
        core.take_sends()
        self.done += 1
        if self.done % 20 == 0:
            core.handle(1, ReleaseTasks(group, [self.done - 20, self.done]), now)


def main() -> None:
    print(f"load average before the run: {os.getloadavg()[0]:.1f}")
    for name, relay in (
        ("blocking sockets", relay_blocking),
        ("readers of asyncio's loop", relay_by_readers),
        ("asyncio's transports", relay_by_transports),
    ):
        print(f"{name:<28} {floor_us(relay):6.0f} us per round trip")
    report = SpanDone(55, 1 << 33, 7, 8, 4, 1e-6, [1, 1], [[7, 8, True, [b"\x80\x05N."]]])
    header = codec.encode([report])[0][codec.PREFIX.size :]
    print(f"{'encode a report':<28} {tight_us(lambda: codec.encode([report])):6.1f} us")
    print(f"{'decode a report':<28} {tight_us(lambda: codec.decode(header, [])):6.1f} us")
    print(f"{'core of the scheduler':<28} {tight_us(CoreTrip()):6.1f} us per task")


if __name__ == "__main__":
    main()
