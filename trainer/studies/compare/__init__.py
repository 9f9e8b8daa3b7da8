"""Compares methods on one split of one click log, as the 2016 paper does: networks and baselines are judged alike."""
