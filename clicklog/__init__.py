"""The logged clickstream: click files, the clicks topic, the archive, and how clicks become sessions."""
