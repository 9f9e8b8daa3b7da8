"""GRU4Rec (Hidasi et al. 2016): the network by its equations."""
