"""The network and what training and serving share of it: layer equations, scoring, top-k, metrics, the bundle on disk."""
