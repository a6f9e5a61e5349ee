"""Tests of counters, snapshots and views; a package, so that they share scenes.py."""
