"""NARM as a family of models: the network and its bundle."""
