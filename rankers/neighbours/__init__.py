"""VS-kNN and STAN: families that count instead of training. An item's score comes from the most similar sessions.

session_index.py   the training sessions by item, as arrays: what a bundle holds
method.py          what both methods share: settings, and the form of their weights
vs_knn.py, stan.py the weights of each method, with their source
search.py          the compiled search: neighbours of a session, and the scores of their items
ranker.py, family.py   the interface of `rankers.contract`
"""
