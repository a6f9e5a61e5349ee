"""Dask's collections and xarray on a cluster, unchanged: `python examples/dask_collections.py`.

Inside `with Client(...)` Dask computes there: where `.compute()` runs is all that is different.
The diagnostics show a group for each Dask layer, under the layer's own name.
"""

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import xarray as xr

from cellspan import Client, LocalCluster


@dask.delayed
def simulate(seed: int) -> float:
    """Estimate pi by throwing darts."""
    x, y = np.random.default_rng(seed).random((2, 200_000))
    return 4 * float(np.mean(x * x + y * y < 1))


@dask.delayed
def average(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    with LocalCluster(workers=1, cores=2) as cluster, Client(cluster) as client:
        # An array in blocks: the variance of the numbers below a million.
        numbers = da.arange(1_000_000, chunks=100_000)
        print(f"array: variance {numbers.var().compute():.1f}")

        # A table in parts: how much each customer spent.
        orders = pd.DataFrame({"customer": np.arange(10_000) % 3, "amount": np.arange(10_000)})
        spent = dd.from_pandas(orders, npartitions=8).groupby("customer").amount.sum()
        print(f"dataframe: spent {spent.compute().sort_index().tolist()}")

        # A bag of anything: words by their length.
        words = db.from_sequence(
            ["cells", "of", "a", "notebook", "span", "a", "cluster"], npartitions=4
        )
        print(f"bag: lengths {sorted(words.map(len).frequencies().compute())}")

        # Functions of one's own, called later.
        print(f"delayed: pi is about {average([simulate(i) for i in range(20)]).compute():.3f}")

        # Labelled arrays: the warmest hour of the day in a year of made-up weather.
        time = pd.date_range("2025-01-01", periods=365 * 24, freq="h")
        wave = 10 - 8 * np.cos(2 * np.pi * (time.hour.to_numpy() - 3) / 24)
        field = xr.DataArray(
            wave[:, None, None] + np.arange(20)[:, None] + np.arange(30),
            dims=("time", "lat", "lon"),
            coords={"time": time},
        ).chunk(time=30 * 24)
        by_hour = field.groupby("time.hour").mean().mean(("lat", "lon")).compute()
        print(f"xarray: warmest at {int(by_hour.idxmax('hour'))}:00, {float(by_hour.max()):.1f} C")

        names = {row.name for row in client.snapshot().groups}
        print(f"groups: {sum('simulate' in name for name in names)} called 'simulate'")


if __name__ == "__main__":
    main()
