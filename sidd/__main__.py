"""SIDD from the command line: `python -m sidd --help`."""

import sys

from sidd.tools.parser import main

if __name__ == "__main__":
    sys.exit(main())
