"""Families of models, their shared parts (bundle, scoring, ranking metrics), and the baselines to compare them with."""
