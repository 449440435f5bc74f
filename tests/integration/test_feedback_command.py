"""The commands `feedback` and `presets`, as a person types them."""

import json
from pathlib import Path

import pytest
from runs import facts_of, run
from worlds import write_stream

from synlearner.agent import Settings, parse_settings
from synlearner.cli import main
from synlearner.events.types import FeedbackGiven, SampleGenerated


def test_feedback_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    run(home, write_stream(tmp_path))
    assert (
        main(["feedback", "task:topics", "-1", "--text", "dull", "--source", "ann", "--home", str(home), "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["target"] == "task:topics"
    assert told["credited"]
    (given,) = facts_of(home, FeedbackGiven)
    assert (given.score, given.text, given.source) == (-1.0, "dull", "ann")
    assert main(["feedback", f"item:{told['credited'][0]}", "0.5", "--home", str(home)]) == 0
    assert "the item's standing moved" in capsys.readouterr().out
    assert facts_of(home, SampleGenerated)


@pytest.mark.parametrize("target", ["sample:1", "sample:99999", "task:nobody", "item:nobody", "cat", "sample:x"])
def test_a_target_that_is_not_there_is_refused(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: Path
) -> None:
    before = len(facts_of(finished, FeedbackGiven))
    assert main(["feedback", target, "1", "--home", str(finished)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert len(facts_of(finished, FeedbackGiven)) == before


@pytest.mark.parametrize("score", ["2", "nan", "-1.5"])
def test_a_score_out_of_range_is_refused(score: str, capsys: pytest.CaptureFixture[str], finished: Path) -> None:
    assert main(["feedback", "task:topics", score, "--home", str(finished)]) == 1
    assert "is not between -1 (harmful) and 1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder / "home", write_stream(folder))
    return folder / "home"


def test_no_home_is_made_for_feedback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedback", "task:topics", "1", "--home", str(tmp_path / "nowhere")]) == 1
    assert not (tmp_path / "nowhere").exists()
    assert "nowhere" in capsys.readouterr().err


def test_presets_are_printed_as_set_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert parse_settings(lines) != Settings()
    assert main(["presets", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["presets"]
    assert data["improved"] == {}
    assert sorted(line.split("=")[0] for line in lines) == sorted(data["faithful"])
    assert main(["run", "demo", "--preset", "best", "--home", "unused"]) == 1
    assert "--preset 'best' is none of improved, faithful" in capsys.readouterr().err
    assert not Path("unused").exists()
