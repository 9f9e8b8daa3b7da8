"""The logged clickstream: click files, the clicks topic, the archive, and the conversion of clicks to sessions."""
