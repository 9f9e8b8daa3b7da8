"""`nextclick demo`: Kafka, a worker, two days of clicks, a model, and a better one, on one machine."""
