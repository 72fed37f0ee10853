"""The real daemon, as a fixture: the program of this repository on a free port with a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest

import apportion

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120.0

CONFIG = """
[resources.db_connections]
scope = "cluster"
capacity = 5
[queues.default]
[queues.maps]
{backend}
[tasks]
demand = {{ cpus = 1 }}
retry_pause = "50ms"
retry_pause_max = "100ms"
kill_grace = "1s"
[python]
interpreter = "{interpreter}"
"""

LOCAL = """
[backend.resources]
cpus = 4
mem = "8GiB"
"""

# On the cluster of this master there is an agent with as much.
MESOS_MASTER = os.environ.get("APPORTION_TEST_MESOS")
MESOS = """
[backend]
kind = "mesos"
[backend.mesos]
masters = ["{master}"]
failover_timeout = "1m"
unreachable_for = "1s"
"""


def program() -> Path:
    """The daemon's program: ``APPORTION_PROGRAM``, or the debug build."""
    found = Path(os.environ.get("APPORTION_PROGRAM", ROOT / "target/debug/apportion"))
    if not found.exists():
        pytest.exit(f"{found} is missing: cargo build", returncode=3)
    return found


def wait_until(what: str, condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """Waits for a condition with a deadline, and gives what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.02)


class Daemon:
    """A daemon that can be killed and started again on the same port."""

    def __init__(self, config: str = "", interpreter: str = sys.executable) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="apportion-test-"))
        backend = MESOS.format(master=MESOS_MASTER) if MESOS_MASTER else LOCAL
        self.settings = CONFIG.format(backend=backend, interpreter=interpreter) + config
        self.listen = "127.0.0.1:0"
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    def start(self) -> None:
        config = self.folder / "apportion.toml"
        server = f'[server]\nlisten = "{self.listen}"\ndata_dir = "{self.folder}/data"\n'
        config.write_text(server + self.settings)
        log = self.folder / "daemon.log"
        with log.open("wb") as out:
            self.process = subprocess.Popen([program(), "serve", "--config", config], stderr=out)

        def listening() -> Optional[str]:
            said = log.read_text()
            assert self.process is not None and self.process.poll() is None, said
            found = re.search(r"listening on http://(\S+)", said)
            return found[1] if found else None

        self.listen = wait_until("the daemon to listen", listening)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "APPORTION_SERVER": self.url}
        return subprocess.run([program(), *arguments], env=env, capture_output=True, text=True)


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[None]:
    """The user's own state stays untouched."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        yield


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """One for all tests that do it no harm."""
    daemon = Daemon()
    os.environ["APPORTION_SERVER"] = daemon.url
    yield daemon
    daemon.stop()


@pytest.fixture()
def own_daemon() -> Iterator[Daemon]:
    """One that a test may harm."""
    daemon = Daemon()
    yield daemon
    daemon.stop()


@pytest.fixture()
def client(daemon: Daemon) -> Iterator[apportion.Client]:
    with apportion.Client(daemon.url) as client:
        yield client


@pytest.fixture()
def pool(daemon: Daemon) -> Iterator[apportion.Executor]:
    with apportion.Executor(daemon.url) as pool:
        yield pool
