"""What training and serving share: the network's equations, scoring, top-k, metrics, the bundle on disk."""
