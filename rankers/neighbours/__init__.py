"""Neighbourhood methods: they recommend items of the training sessions most similar to the current session."""
