"""Benchmarks of nextclick, each a command: see README.md."""
