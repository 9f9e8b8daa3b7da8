"""What a training step minimises, and how it updates the weights: losses, negative samples, optimisers."""
