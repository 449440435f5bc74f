"""A whole run in PostgreSQL: the digest of the same run in a folder, though it was stopped after every action."""

from pathlib import Path

import runs
from commands import Run
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.reports import RunReport
from synlearner.memory import HashEmbedder


def test_a_run_on_a_server_ends_with_the_digest_of_the_run_in_a_folder(home_url: str, tmp_path: Path, run: Run) -> None:
    stream = write_stream(tmp_path / "s", "one")
    in_folder = runs.run(tmp_path / "home", stream)

    def go_on() -> RunReport:
        with Agent.open(home_url, engine=scripted(), embedder=HashEmbedder()) as agent:
            return agent.run(stream, settings=runs.SHORT, watcher=runs.StopAfter())

    report, stops = runs.run_in_pieces(tmp_path / "home", go_on)
    assert stops > 10
    assert report == in_folder
    assert run("log", "digest", "--home", home_url, "--json").data == {"events": report.events, "digest": report.digest}
    assert run("replay", "--home", home_url, "--json").data["events"] == report.events
    assert run("log", "verify", "--home", home_url).code == 0
