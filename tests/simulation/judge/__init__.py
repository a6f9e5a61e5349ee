"""The judge of placement: families of graphs, an oracle that knows everything, a light cluster.

`python -m tests.simulation.judge --write docs/placement.md` makes the report.

Law: virtual time only; the one thing that is measured in the seconds of this machine is the
scheduler's own work (cost.py).
"""
