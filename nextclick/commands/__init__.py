"""One module per command of `nextclick`; each imports what it needs only when it runs, so that `--help` is quick."""
