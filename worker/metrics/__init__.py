"""What `/metrics` shows. Each module collects the figures of one subject when Prometheus asks for them.

    answers     clicks, their stages and rejects; live Recall and MRR
    models      which models are in use, how old they are, how long an exchange took
    partitions  lag, sessions and their size; queue and batches under way; room on the disk
    group       membership, recovery, and what fails and is tried again

Names and units follow Prometheus' conventions; `docs/monitoring.md` lists them, and a test keeps the list complete.
"""
