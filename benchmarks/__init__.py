"""Side-by-side measurements of cellspan and its peers: ``make bench``."""
