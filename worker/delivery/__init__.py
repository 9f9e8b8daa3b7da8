"""Moves clicks from Kafka to the recommender and its results back. No click is lost, and none is applied twice.

Faust moves messages one at a time and acknowledges them when an agent has seen them. This package keeps Faust's
consumer, rebalancing, tables and web server. It replaces the transport between them by one that works in bulk and in a
fixed order:

    consumer    fetches clicks as whole batches of records; finishes batches in flight before partitions are revoked;
                consumer_thread talks to the broker, fetches says which offsets a fetch covers, membership watches the
                worker's place in its group
    source      passes them to the agent, complete and in offset order per partition
    publisher   produces batches and waits until the broker has acknowledged them
    store       reads and writes the packed states of one partition in bulk, in RocksDB
    recovery    brings RocksDB up to date from the changelog, in bulk; lost_changelog writes the states on this disk
                to a changelog that has lost them
    app         the Faust app with these parts in place

What fails and is tried again reports to `outage`, which keeps the log short. `watchdog` notices dead parts and, with
`progress`, knows whether clicks are answered.

Consumer and source are created before the app is complete. The protocols at the top of their files list what they use:
`consumer.ConsumingApp` and `source.ClickFetcher`.

`docs/delivery.md` describes the guarantee, its reasons and its cost.
"""
