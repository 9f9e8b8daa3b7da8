"""Comparing methods on one split of one log: the paper's table, with the networks and their rivals judged alike."""
