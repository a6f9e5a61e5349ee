"""The worker: represents one machine (or its share of a job). Talks to the scheduler, owns
results, feeds executors.

Law: no user code runs and no user value is unpickled in this process. core.py decides, server.py
acts.
"""
