"""Mutants that no test can tell from the original, by name, each with the reason."""

_SLOT = "the slot is chosen when the file is opened, before anything is written"
_SEEK = "the file was opened just now, so this is where it stands; only on Windows has the lock moved it"
_NAME = "more than the line that names a holder ever has"
_SHORT = "a short cut: the way that is left leads to the same"
_FOREVER = "any number that no seq reaches"
_FOLDERS = "any number that no folder's reaches"
_LOOKS = "how many events are searched for before that is given up as too much work"
_PACE = "how long somebody who waits sleeps between two looks"

EQUIVALENT: dict[str, str] = {
    "anchor Anchor.__init__: self._slot = 0 -> pass": _SLOT,
    "anchor Anchor.__init__: 0 -> 1": _SLOT,
    "checks open_row: '[]' -> '[]x'": _SHORT,
    "codec decode: raise CorruptLog(_misshapen(kind, version, error)) from error -> pass": _SHORT,
    "database _has_wal: 0 -> 1": "a write-ahead log of one byte holds nothing",
    "database <module>: 1024 -> 1025": "how many pages a backup copies at a time",
    "database <module>: 1024 -> 1023": "how many pages a backup copies at a time",
    "exact _are_free: kinds <= _PLAIN -> kinds < _PLAIN": _SHORT,
    "exact _are_int: sum(map(abs, values)) <= LARGEST -> sum(map(abs, values)) < LARGEST": _SHORT,
    "ids Ids.catch_up: seq > indexed -> seq >= indexed": "an id in both places is found once",
    "exact _check_of: 0 -> 1 (place 3)": "where the items of a tuple are looked at, all have one type",
    "jsonl _lines_in: 1 -> 2": "one byte more of a line that is refused",
    "lock WriterLock.acquire: os.lseek(handle, 0, os.SEEK_SET) -> pass": _SEEK,
    "lock WriterLock.acquire: os.lseek(handle, 0, os.SEEK_SET) -> pass (place 2)": _SEEK,
    "lock WriterLock.acquire: 100 -> 101": _NAME,
    "lock WriterLock.acquire: 100 -> 99": _NAME,
    "prefix <module>: 62 -> 63": _FOREVER,
    "prefix <module>: 62 -> 61": _FOREVER,
    "repair _repair: 62 -> 63": _FOREVER,
    "repair _repair: 62 -> 61": _FOREVER,
    "repair _repair: 1 -> 2 (place 3)": _FOLDERS,
    "repair _repair: 30 -> 31": _FOLDERS,
    "repair _repair: 30 -> 29": _FOLDERS,
    "sqlite SqliteLog._outcome: 0 -> 1": "the checkpoint answers (busy, frames, moved): (0, 0, 0) if it went through, "
    "and (1, at least 1, ...) if a reader is in the way of the batch",
    "sqlite SqliteLog.wait: left <= 0 -> left < 0": "one look more, where not a nanosecond is left",
    "sqlite SqliteLog.wait: 1.5 -> 2.5": _PACE,
    "verify <module>: 8 -> 9": _LOOKS,
    "verify <module>: 8 -> 7": _LOOKS,
    "verify Survey.__init__: self._log = LOG -> pass": "said anew of each log, before anything is found in it",
    "verify Survey._look_at: len(self._problems) < SEARCHES -> len(self._problems) <= SEARCHES": _LOOKS,
}
