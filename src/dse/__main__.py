"""`python -m dse`: the command line where the `dse` script is not on the path."""

from dse.cli import main

main()
