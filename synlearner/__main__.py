"""`python -m synlearner`."""

import sys

from synlearner.cli import main

if __name__ == "__main__":
    sys.exit(main())
