"""The well-known public click logs, as they are published, to files of clicks.

Each reader is lazy (`polars.LazyFrame`): a log need not fit into memory. `clicklog.importers.writing` checks every line
and writes the file.
"""
