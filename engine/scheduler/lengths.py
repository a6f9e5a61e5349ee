"""How long a span is to be.

- While nothing is known of a group: a probe, one task per slot.
- Then `span_s` of work per slot by the learned mean, at most GROWTH times longer from report to
  report, and not more bytes than `span_bytes`. In a large cluster spans are longer, so that there
  are about SPANS_PER_S of them each second, however many workers there are.
- Towards the end shorter: at most half of a fair share of the work that is ready, until a span is
  not worth cutting up.

Law: numbers only; what is known of groups and workers is read, never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .groups import Group
    from .peers import Worker

MIN_TASK_S = 1e-6
"""What handling a task costs at least, whatever its function takes."""

SPANS_PER_S = 4000
LEAST_SPAN_S = 0.25e-3
"""Less work than this is not cut up for the sake of balance; in a large cluster it is
LEAST_PART of a span."""
LEAST_PART = 1 / 32
MAX_FOLLOWING = 64


class Lengths:
    """The rules, and the size of the cluster that they depend on: `workers`, and `power`, which is
    the sum of slots times speed.
    """

    def __init__(self, span_s: float, queue_s: float, max_span: int, span_bytes: int) -> None:
        self._span_s = self.span_s = span_s
        self._queue_s = self.queue_s = queue_s
        self._max_span = max_span
        self._span_bytes = span_bytes
        self._least_s = LEAST_SPAN_S
        self.workers = 0
        self.power = 0.0

    def on_workers(self, count: int, power: float) -> None:
        """There are so many workers more, with so much power."""
        self.workers += count
        self.power = max(0.0, self.power + power)
        longer = max(1.0, self.workers / SPANS_PER_S / self._span_s)
        self.span_s = self._span_s * longer
        self.queue_s = self._queue_s * longer
        self._least_s = LEAST_SPAN_S if longer == 1 else max(LEAST_SPAN_S, LEAST_PART * self.span_s)

    def task_s(self, group: Group, worker: Worker) -> float:
        """Return the expected duration of one task of a group on a worker."""
        mean = group.mean_s()
        return self.queue_s if mean is None else max(mean, MIN_TASK_S) / worker.pace.speed

    def find_length(self, group: Group, worker: Worker, others_s: float) -> int:
        """Return how many tasks a span is to have.

        `others_s`: expected seconds of work that is ready in other groups.
        """
        mean, slots, speed = group.mean_s(), worker.slots, worker.pace.speed
        per_slot, least, ready = 1, 1, float(len(group.ready))
        if mean is not None:
            mean = max(mean, MIN_TASK_S)
            task_s = (mean + _following_s(group)) / speed
            per_slot = max(1, min(int(self.span_s / task_s), group.grown, self._max_span))
            least = max(1, int(self._least_s / task_s))
            ready += others_s / mean
        if hint := group.options.get("span"):
            per_slot, least = min(max(per_slot, hint[0]), hint[1]), max(least, hint[0])
        free = slots - worker.tasks
        length = free if per_slot == 1 and free > 0 else per_slot * slots
        if self.workers > 1:
            share = -int(-ready * slots * speed / (2 * self.power) // 1)
            length = min(length, max(share, least))
        size = group.layer.bytes_per_task()
        if size * length > self._span_bytes:
            length = max(1, int(self._span_bytes / size))
        return length


def _following_s(group: Group) -> float:
    """Return what a task of a group draws after it, in seconds: those that take its result alone,
    one after the other, and that are sent along with it (along.py).
    """
    seconds = 0.0
    for _ in range(MAX_FOLLOWING):
        if len(group.consumers) != 1:
            break
        (consumer,) = group.consumers.values()
        if consumer is group or consumer.layer.kind != "each" or not consumer.waiting:
            break
        seconds += max(consumer.mean_s() or 0.0, MIN_TASK_S)
        group = consumer
    return seconds
