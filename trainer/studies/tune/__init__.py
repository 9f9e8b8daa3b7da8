"""Searching for the settings of a network on the newest part of its training clicks."""
