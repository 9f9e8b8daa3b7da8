"""Exact top-k: score all items for some sessions and return the best ones."""
