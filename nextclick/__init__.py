"""The command line, and the local stack for people without one: broker, demo, synthetic clicks."""
