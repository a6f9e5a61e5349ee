"""What four processes need at least to pass a message to and fro, and what a message costs alone.

    python -m benchmarks.relay

The floor under `submit -> result`: a client, two relays and an echo pass 70 bytes along and back
over unix socket pairs and do nothing else; the relays read in a blocking way, by a bare reader of
asyncio's loop, or by asyncio's transports. Then one message in a tight loop. Linux, forks.
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
from cellspan.engine.messages import SpanDone

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
    return min(timeit.repeat(run, number=LOOPS, repeat=5)) / LOOPS * 1e6


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


if __name__ == "__main__":
    main()
