"""Retraining as a service: one run reads, trains, judges, decides and records; a schedule repeats it."""
