"""`python -m synlearner`."""

from synlearner.cli import entry

if __name__ == "__main__":
    entry()
