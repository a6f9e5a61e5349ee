"""One file per system under test; each has a class `System` with the same methods (base.py)."""
