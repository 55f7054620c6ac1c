"""`python -m babelclip`: the command line."""

from babelclip.cli.main import main

main()
