"""A whole cluster in one thread: real cores, simulated time, network, processes and users.

Law: one seed decides everything. Nothing here reads a clock, a socket or the operating system's
randomness, and nothing iterates over a set of strings or bytes; so the same seed gives the same
trace, in every process. `python -m tests.simulation --seed N` replays one.
"""
