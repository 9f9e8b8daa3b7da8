"""The rejected topic: messages as received, with headers that say why they are there and where they came from."""

OWN_HEADERS = ("reason", "topic", "partition", "offset", "log", "cut")
"""The headers that a refused message gets, in this order, after those that it had."""
