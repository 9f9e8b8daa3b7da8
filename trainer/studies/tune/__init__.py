"""Searches for settings of a network, judged on the newest part of the training clicks."""
