"""`python -m nextclick`: the command line."""

from nextclick.start import main

main()
