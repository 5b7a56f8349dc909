"""A PostgreSQL server of one's own, from the programs that Debian has put there."""

import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Where Debian has put the programs of the newest server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: one.parts[-3])
    return found[-1].parent if found else None


class Server:
    """A PostgreSQL server of one test process; it can be stopped and started."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        if os.getuid() == 0:  # it does not run as root
            shutil.chown(folder, "postgres")
        self._run("initdb", "-A", "trust", "-U", "tests", "--no-sync", "--locale=C.UTF-8")
        self.start()

    def _run(self, program: str, *more: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *more]
        user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=120, **user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        log = str(self._folder / "log")
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        # the output of the server itself must not keep our pipe open
        self._run("pg_ctl", "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """In the block it takes connections, and answers nobody."""
        first = (self._folder / "data" / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        numbers = list(map(int, (first, *children)))
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            for number in numbers:
                os.kill(number, signal.SIGCONT)

    def database(self) -> str:
        """The address of a database of its own."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        address = f"postgresql://tests@127.0.0.1:{self.port}"
        with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{address}/{name}"


@contextmanager
def serving(programs: Path) -> Iterator[Server]:
    """A server that is there for the block."""
    folder = Path("/tmp") / f"otel-llm-usage-{uuid.uuid4().hex[:8]}"  # a socket's path is short
    folder.mkdir()
    server = None
    try:
        server = Server(folder, programs)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder)
