"""Kafka clients whose failures are one readable line, and the topics with their contracts."""
