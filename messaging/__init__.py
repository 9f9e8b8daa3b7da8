"""Kafka clients that fail with one readable line, and topics held against their contracts."""
