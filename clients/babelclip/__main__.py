"""`python -m babelclip`: the command line."""

from babelclip.cli import main

main()
