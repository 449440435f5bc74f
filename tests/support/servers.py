"""A PostgreSQL server for tests: a private one on a Unix socket, or the one that `SYNLEARNER_TEST_POSTGRES` names."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, if there is one."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].resolve().parent if found else None


@contextmanager
def private_server() -> Iterator[str]:
    """Run a server of our own and yield a URL without a schema."""
    found = binaries()
    assert found is not None
    # PostgreSQL refuses to run as root, a socket's path has little room, and other pytest sessions close pytest's folder
    # to everybody but its owner: a folder of the server's own.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="syn-pg-"))
    data = folder / "data"
    if os.geteuid() == 0:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(found / program), *arguments]
        as_user = ["runuser", "-u", user, "--", *command] if os.geteuid() == 0 else command
        # Its own output: a server that inherits a pipe would keep it open.
        with (folder / f"{program}.txt").open("ab") as out:
            done = subprocess.run(as_user, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd="/", check=False)
        assert done.returncode == 0, (folder / f"{program}.txt").read_text() + _text(folder / "server.txt")

    (folder / "password").write_text("a secret of the tests\n")
    call(
        "initdb", "--pgdata", str(data), "--username=tester", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
        "--pwfile", str(folder / "password"), "--no-sync", "--encoding=UTF8", "--locale=C",
    )  # fmt: skip
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=60"
    try:
        call("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "server.txt"), "-o", options, "start")
        yield f"postgresql://tester:a%20secret%20of%20the%20tests@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
