"""`python -m nextclick`: the command line."""

from nextclick.cli import main

main()
