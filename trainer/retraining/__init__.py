"""Retraining as a service: one run reads, holds out, fits, judges and releases; a schedule starts the runs."""
