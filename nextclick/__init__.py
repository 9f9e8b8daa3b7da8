"""The command line, and a local stack to try it without an installed Kafka: broker, demo, synthetic clicks."""
