"""Exact top-k: the scores of all items for some sessions, and the best of them."""
