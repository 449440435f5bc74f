"""The command line when things go wrong: damage, interrupts, a full disk, a second writer, an unfinished run."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

from commands import Run, one_line, quick_settings, start, wait_for_events
from worlds import lines, write_stream


def test_a_model_folder_that_is_none_is_refused_and_nothing_has_run(
    run: Run, done: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    for model in (tmp_path / "model", tmp_path / "nowhere"):
        ran = run("run", done[1], "--home", tmp_path / "h", "--quiet", "--set", f"policy.model={model}")
        assert ran.code == 1
        one_line(ran, model.name)
        assert run("log", "digest", "--home", tmp_path / "h", "--json").data["events"] == 0


def test_an_unfinished_run_is_not_gone_on_with_as_another(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"
    # A fork is lenient by design; a plain unfinished run is made by importing a cut log.
    run("log", "export", tmp_path / "all.jsonl", "--home", done[0])
    events = lines(tmp_path / "all.jsonl")
    kinds = [json.loads(line)["kind"] for line in events]
    (tmp_path / "cut.jsonl").write_text("\n".join(events[: kinds.index("policy_updated") + 1]) + "\n")
    (tmp_path / "all.jsonl.blobs").rename(tmp_path / "cut.jsonl.blobs")
    assert run("log", "import", tmp_path / "cut.jsonl", "--home", home).code == 0
    before = run("log", "digest", "--home", home, "--json").data
    other = write_stream(tmp_path / "other", "topics", samples=9)
    refused: list[tuple[list[object], str]] = [
        ([other, *quick_settings(tiny_folder)], "stream"),
        ([done[1]], "loop.rounds"),
        ([done[1], "--seed", 5, *quick_settings(tiny_folder)], "--seed"),
    ]
    for arguments, word in refused:
        ran = run("run", *arguments, "--home", home, "--quiet")
        assert ran.code == 1
        one_line(ran, word, "unfinished")
    assert run("log", "digest", "--home", home, "--json").data == before
    resumed = run("run", done[1], "--home", home, "--quiet", "--json", *quick_settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_changed_log_or_blob_cannot_be_trusted(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    for victim in ("log.sqlite", "blobs"):
        home = tmp_path / victim
        subprocess.run(["cp", "-r", str(done[0]), str(home)], check=True)  # noqa: S607
        file = (
            next(path for path in (home / victim).rglob("*") if path.is_file()) if victim == "blobs" else home / victim
        )
        data = bytearray(file.read_bytes())
        if victim == "log.sqlite":
            # Of a payload, and in every place: pages also hold free bytes, and old copies of what was moved.
            data = data.replace(b'"stream_digest":', b'"stream_digesT":')
        else:
            data[-1] ^= 1
        file.chmod(0o644)
        file.write_bytes(data)
        ran = run("log", "verify", "--home", home)
        assert ran.code == 3, ran.out
        assert "Traceback" not in ran.err


def test_ctrl_c_leaves_one_line_and_a_run_that_goes_on(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"

    def heed() -> None:
        # What a shell starts in the background, such as this suite, ignores Ctrl-C, and so do its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = start("run", done[1], "--home", home, *quick_settings(tiny_folder), preexec_fn=heed)
    wait_for_events(home, 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("synlearner: interrupted")
    resumed = run("run", done[1], "--home", home, "--json", "--quiet", *quick_settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_second_writer_is_told_so(run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path) -> None:
    home = tmp_path / "h"
    process = start("run", done[1], "--home", home, *quick_settings(tiny_folder))
    try:
        wait_for_events(home, 2)
        ran = run("run", done[1], "--home", home, "--quiet", *quick_settings(tiny_folder))
        if process.poll() is None:
            assert ran.code == 1
            one_line(ran, str(process.pid))
    finally:
        process.kill()
        process.communicate()


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"

    def limit() -> None:
        # No file may grow beyond this: writes fail as they do on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    process = start(
        "run", done[1], "--home", home, "--quiet", *quick_settings(tiny_folder), preexec_fn=limit, env=os.environ
    )
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    assert run("log", "verify", "--home", home).code == 0
    resumed = run("run", done[1], "--home", home, "--json", "--quiet", *quick_settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_log_that_was_cut_within_a_batch_is_gone_on_with_from_a_fork(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    run("log", "export", tmp_path / "all.jsonl", "--home", done[0])
    events = lines(tmp_path / "all.jsonl")
    within = [json.loads(line)["kind"] for line in events].index("sample_generated") + 2
    (tmp_path / "all.jsonl").write_text("\n".join(events[:within]) + "\n")
    run("log", "import", tmp_path / "all.jsonl", "--home", tmp_path / "h")
    one_line(run("run", done[1], "--home", tmp_path / "h", "--quiet", *quick_settings(tiny_folder)), "within a batch")
    assert run("fork", "--home", tmp_path / "h", "--at", within, "--into", tmp_path / "new").code == 0
    assert run("run", done[1], "--home", tmp_path / "new", "--quiet").code == 0
