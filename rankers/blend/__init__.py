"""A network and a neighbourhood method as one model: the items of both, and a weighted sum of their scores."""
