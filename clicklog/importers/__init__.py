"""Convert well-known public click logs, in their published formats, to files of clicks.

Each reader is lazy (`polars.LazyFrame`): a log may be larger than memory. `clicklog.importers.writing` checks every
line and writes the file.
"""
