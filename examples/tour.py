"""cellspan from a script, in ten lines: run it with `python examples/tour.py`."""

import math
import time

from cellspan import Client, LocalCluster, progress


def root(x: float) -> float:
    time.sleep(0.005)  # stands for work
    return math.sqrt(x)


with LocalCluster(workers=2, cores=1) as cluster, Client(cluster) as client:
    roots = client.map(root, range(1_000))  # at once: a list of futures, made as you look at them
    progress(roots)  # how far they are, until all are done
    total = client.submit(sum, roots)  # futures are arguments: the results stay where they are
    print(f"the sum of the first thousand roots is {total.result():.3f}")
    broken = client.submit(root, -1)  # an error stays with its task...
    print(f"the root of {-1}: {broken.exception()}")  # ...and is the task's own exception
