"""Runs the command line as ``python -m charlstm``."""

import sys

from charlstm.cli import main

if __name__ == "__main__":
    sys.exit(main())
