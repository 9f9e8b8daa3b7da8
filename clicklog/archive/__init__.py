"""The click log as Parquet: follow the clicks topic into files, and read files and topic as one log.

    {NEXTCLICK_ARCHIVE_URI}/{clicks topic}/day=2026-11-24/partition=3/{first}-{end}_{oldest}-{newest}.parquet

A file holds the valid clicks of the offsets from `first` to `end` (exclusive) of one partition. The files themselves
are the only state: the next file of a partition begins where the last one ends, whoever writes it.
"""
