"""The simulated network: links that keep order and may be slow, stall, or break.

Law: inside one direction of one link nothing overtakes, nothing is doubled and nothing is lost
before the link breaks; when it breaks, what is under way arrives up to some point and then nothing.
Different links know nothing of each other, so their messages overtake freely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from cellspan.engine.codec import PREFIX, decode, encode
from cellspan.engine.messages import MESSAGES, Message

from .world import World

OnMessages = Callable[[list[Message]], None]
OnClosed = Callable[[str], None]

SHOWN_MESSAGES = 4
_SHOWN = ("assignment", "group", "start", "stop", "index", "runs", "worker", "request", "count")
_FIELDS: dict[type[Message], tuple[str, ...]] = {
    cls: tuple(f.name for f in fields(cls) if f.name in _SHOWN)  # type: ignore[arg-type]
    for cls in MESSAGES
}


@dataclass
class Weather:
    """How the network is: seconds, bytes per second; `uses_codec`: messages travel as bytes."""

    latency_s: float = 2e-4
    jitter_s: float = 2e-4
    bandwidth: float = 1e9
    uses_codec: bool = True


class Direction:
    """One of the two ways of a link."""

    def __init__(self, name: str, on_messages: OnMessages, on_closed: OnClosed) -> None:
        self.name = name
        self.on_messages = on_messages
        self.on_closed = on_closed
        self.last_arrival = 0.0
        self.is_cut = False
        self.is_closed = False


class Link:
    """A connection between two ends, 0 and 1. What end 0 sends, end 1 receives."""

    def __init__(
        self,
        world: World,
        weather: Weather,
        names: tuple[str, str],
        receivers: tuple[OnMessages, OnMessages],
        closers: tuple[OnClosed, OnClosed],
    ) -> None:
        self._world = world
        self._weather = weather
        a, b = names
        self._ways = (
            Direction(f"{a}>{b}", receivers[1], closers[1]),
            Direction(f"{b}>{a}", receivers[0], closers[0]),
        )
        self.is_open = True

    def send(self, end: int, messages: list[Message]) -> None:
        """Send messages from an end, as one batch. On a broken link they are lost."""
        if not messages or not self.is_open:
            return
        way = self._ways[end]
        nbytes = 0
        if self._weather.uses_codec:
            messages, nbytes = _through_codec(messages)
        label = f"{way.name} {describe(messages)}"
        self._world.at(self._arrival(way, nbytes), label, self._deliver, way, messages)

    def stall(self, end: int, seconds: float) -> None:
        """Let everything that an end sends arrive no earlier than in so many seconds."""
        way = self._ways[end]
        way.last_arrival = max(way.last_arrival, self._world.now + seconds)

    def close(self, end: int, reason: str) -> None:
        """Close from an end, in order: what it sent arrives, then the other end is told. What is
        under way to it is lost."""
        if not self.is_open:
            return
        self.is_open = False
        self._ways[1 - end].is_cut = self._ways[1 - end].is_closed = True
        self._tell(self._ways[end], reason)

    def cut(self, reason: str) -> None:
        """Break: each end is told after a while, when what still got through has arrived."""
        if not self.is_open:
            return
        self.is_open = False
        for way in self._ways:
            way.is_cut = self._world.random.random() < 0.5
            self._tell(way, reason)

    def _tell(self, way: Direction, reason: str) -> None:
        time = self._arrival(way, 0) + self._world.random.random() * 0.05
        self._world.at(time, f"{way.name} closed: {reason}", self._closed, way, reason)

    def _arrival(self, way: Direction, nbytes: int) -> float:
        weather = self._weather
        delay = weather.latency_s + nbytes / weather.bandwidth
        if weather.jitter_s:
            delay += self._world.random.expovariate(1 / weather.jitter_s)
        way.last_arrival = max(way.last_arrival + 1e-9, self._world.now + delay)
        return way.last_arrival

    def _deliver(self, way: Direction, messages: list[Message]) -> None:
        if not way.is_cut:
            way.on_messages(messages)

    def _closed(self, way: Direction, reason: str) -> None:
        if not way.is_closed:
            way.is_cut = way.is_closed = True
            way.on_closed(reason)


def describe(messages: list[Message]) -> str:
    """Return what a batch is, in a line: its first messages."""
    texts = []
    for message in messages[:SHOWN_MESSAGES]:
        kind = type(message)
        values = [f"{getattr(message, name)}" for name in _FIELDS[kind]]
        texts.append(f"{kind.__name__}({','.join(values)})"[:100])
    if len(messages) > SHOWN_MESSAGES:
        texts.append(f"and {len(messages) - SHOWN_MESSAGES} more")
    return " ".join(texts)


def _through_codec(messages: list[Message]) -> tuple[list[Message], int]:
    """Encode and decode: what arrives shares nothing with what was sent."""
    frame, *buffers = encode(messages)
    header = bytes(frame)[PREFIX.size + 8 * len(buffers) :]
    copies = [bytes(buffer) for buffer in buffers]
    return decode(header, copies), len(header) + sum(map(len, copies))
