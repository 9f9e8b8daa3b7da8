"""Clicks from Kafka to the recommender and its results back, with nothing lost and nothing applied twice.

Faust moves messages one at a time and acknowledges them when an agent has seen them. This package keeps Faust's
consumer, rebalancing, tables and web server, and replaces what lies between them, in bulk and in a fixed order:

    consumer    fetches clicks as whole batches of records; finishes what is under way before partitions are given up
    source      hands them to the agent, complete and in offset order per partition
    publisher   produces batches and waits until the broker has acknowledged them
    store       reads and writes the packed states of one partition in bulk, RocksDB below
    recovery    brings RocksDB up to date from the changelog, in bulk
    app         the Faust app with these parts in place

Consumer and source are made before the app is complete. What they ask of it stands at the top of their files:
`consumer.ConsumingApp` and `source.ClickFetcher`.

`docs/delivery.md` states the guarantee, its reasons and what it costs.
"""
