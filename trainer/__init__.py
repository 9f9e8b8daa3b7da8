"""Clicks → sessions → session-parallel mini-batches → fit → full-ranking evaluation → a model bundle."""
