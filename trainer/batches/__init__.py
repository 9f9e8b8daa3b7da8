"""Session-parallel mini-batches: which clicks a training step sees."""
