"""Families of models, what they share (bundle, scoring, ranking metrics), and the methods they are compared with."""
