"""The scheduler: a core without input and output (core.py) and its shell (server.py)."""
