"""The click log as Parquet: write the clicks topic into files, and read files and topic as one log.

    {NEXTCLICK_ARCHIVE_URI}/{clicks topic}/day=2026-11-24/partition=3/{first}-{end}_{oldest}-{newest}.parquet

A file holds the valid clicks of one partition with offsets from `first` to `end` (exclusive). The files are the only
state: the next file of a partition begins where the last one ends, whichever process writes it.
"""
