import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synlearner.errors import ConfigError, CorruptLog, HomeLocked, LogError
from synlearner.events import EMPTY, Draft, Home, RunFinished, WriterLock


def draft(number: int) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number))


def test_a_new_home_has_its_files_and_is_open_for_writing(tmp_path: Path) -> None:
    with Home.open(tmp_path / "some" / "home", create=True) as home:
        assert home.path == tmp_path / "some" / "home"
        assert home.writable
        assert home.log.head() == EMPTY
        assert home.derived == home.path / "derived"
        assert home.blobs.folder == home.path / "blobs"
        names = {path.name for path in home.path.iterdir()}
        assert {"log.sqlite", "log.anchor", "blobs", "derived", ".writer"} <= names


def test_an_existing_home_is_opened_to_read_to_write_or_to_create(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        home.log.append([draft(1)], expected_seq=0)
    for write, create in ((False, False), (True, False), (False, True), (True, True)):
        with Home.open(str(tmp_path), write=write, create=create) as home:
            assert home.writable == (write or create)
            assert home.log.head().seq == 1


@pytest.mark.parametrize("write", [True, False])
def test_without_create_there_must_be_a_home(tmp_path: Path, write: bool) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(
            ConfigError, match=r"no home at '.*': pass the folder of an earlier run \(--home\), or start one"
        ):
            Home.open(path, write=write)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_no_home(tmp_path: Path, create: bool) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file: a home is a folder"):
        Home.open(tmp_path / "file", create=create)
    with pytest.raises((ConfigError, LogError)):
        Home.open(tmp_path / "file" / "home", create=create)


@pytest.mark.parametrize("create", [True, False])
def test_a_log_that_was_deleted_is_not_quietly_begun_again(tmp_path: Path, create: bool) -> None:
    with Home.open(tmp_path, create=True) as home:
        home.log.append([draft(1)], expected_seq=0)
    (tmp_path / "log.sqlite").unlink()
    with pytest.raises(CorruptLog, match=r"log.sqlite' is missing, its anchor names 1 events"):
        Home.open(tmp_path, create=create)
    assert not (tmp_path / "log.sqlite").exists()


def test_a_home_that_may_not_be_entered_is_an_error_in_one_line(tmp_path: Path) -> None:
    code = (
        "import os, sys; from synlearner.errors import LogError; from synlearner.events import Home\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"  # root may go everywhere
        "for create in (False, True):\n"
        "  try: Home.open(sys.argv[1] + '/inner', create=create)\n"
        "  except LogError as error: print(str(error))"
    )
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed").chmod(0 if os.getuid() else 0o700)
    command = [sys.executable, "-c", code, str(tmp_path / "closed")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (tmp_path / "closed").chmod(0o700)
    assert done.stderr == ""
    assert [line.endswith("Permission denied") for line in done.stdout.splitlines()] == [True, True]


def test_there_is_one_writer_and_the_second_is_told_who(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        home.log.append([draft(1)], expected_seq=0)
        with pytest.raises(HomeLocked, match=rf"'{tmp_path}' is being written by process {os.getpid()} \(since 20"):
            Home.open(tmp_path, write=True)
        with Home.open(tmp_path) as reader:
            assert reader.log.head().seq == 1
        # The second writer took nothing from the first.
        home.log.append([draft(2)], expected_seq=1)
    Home.open(tmp_path, write=True).close()


def test_the_lock_dies_with_its_process_and_names_it_while_it_lives(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from synlearner.events import WriterLock\n"
        "lock = WriterLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / ".writer"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(HomeLocked, match=f"process {child.pid} "):
            WriterLock(path).acquire()
        child.send_signal(signal.SIGKILL)
        child.wait()
    with WriterLock(path):
        assert f"process {os.getpid()} " in path.read_text()
    assert path.read_text() == ""


def test_a_home_that_cannot_be_opened_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_bytes(b"dear diary " * 100)
    for _ in range(2):
        with pytest.raises(ConfigError, match="is not a log of SynLearner"):
            Home.open(tmp_path, write=True)


def test_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, synlearner.events; heavy = {'torch', 'transformers', 'peft', 'vllm', 'chromadb', 'sklearn', 'pydantic',"
        " 'numpy', 'pyarrow', 'rich', 'yaml'}; print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
