"""What a training step minimises, and how it moves the weights: losses, negative samples, optimisers."""
