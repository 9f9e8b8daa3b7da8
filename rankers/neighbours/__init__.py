"""Neighbourhood methods: items of the training sessions that are most like a session so far."""
