"""Session-parallel mini-batches: which clicks each training step uses."""
