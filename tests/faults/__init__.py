"""Sweeps of faults over a home on SQLite: what `docs/DURABILITY.md` promises, shown at every place that there is.

    python -m faults errors    every operation on a file fails, once or for ever, with EIO and with ENOSPC
    python -m faults losses    the power goes, and of what was not forced to disk any part may be missing
    python -m faults kills     `kill -9` at random moments
    python -m faults flips     bits flip and files are cut, in the database, the WAL, the anchor and a blob

`make faults` runs the long forms; `test_sweeps.py` runs the short ones. Each is a process of its own, for the first two
put themselves below all files of the process (`disk.py`, `vfs.py`).
"""
