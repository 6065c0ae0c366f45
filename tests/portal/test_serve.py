"""`manage.py serve` starts everything, and leaves nothing behind, however it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """One `serve` in a folder of its own."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, free_port()
        self.log = var.parent / f"{var.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Installation":
        clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PORT")}
        chosen = {"STEWARD_VAR": str(self.var), "STEWARD_PROFILE": "embedded", "PORT": str(self.port), **environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--no-demo", "--workers", "2"],
                cwd=ROOT,
                env={**clean, **{name: value for name, value in chosen.items() if value}},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self, within: float = 90) -> "Installation":
        assert self.process is not None
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            if "Steward is ready at" in self.said and len(self.members("celery", "worker")) == 1:
                return self
            time.sleep(0.1)
        raise AssertionError(self.said)

    def status(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/healthz")
        return connection.getresponse().status

    def everything(self) -> list[psutil.Process]:
        """Every process of this installation: those that know its folder. Ask their `info`: they may be gone by now."""
        found = []
        for process in psutil.process_iter(["cmdline", "name"]):
            try:
                line = " ".join(process.info["cmdline"] or [])
                if str(self.var) in line or process.environ().get("STEWARD_VAR") == str(self.var):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def members(self, *words: str) -> list[psutil.Process]:
        """Processes whose command has all these words, the shells around them aside."""
        return [p for p in self.everything() if p.is_running() and set(words) <= set(p.info["cmdline"] or ())]

    def copy_to(self, var: Path) -> None:
        """All it wrote, with its owners: PostgreSQL does not take files of others."""
        assert self.gone()
        var.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", self.var, var], check=True)

    def kill(self) -> None:
        for process in self.everything():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def programs(self) -> list[list[str]]:
        """The commands that run, the database server's aside."""
        return [p.info["cmdline"] for p in self.everything() if "postgres" not in (p.info["name"] or "")]

    def ended(self, within: float = 30) -> int:
        assert self.process is not None
        return self.process.wait(within)

    def gone(self, within: float = 20) -> bool:
        deadline = time.monotonic() + within
        while left := self.everything():
            if time.monotonic() > deadline:
                raise AssertionError(f"still there: {[p.info['cmdline'] for p in left]}\n{self.said}")
            time.sleep(0.1)
        return True


@pytest.fixture
def installation(tmp_path):
    """An empty folder, nothing started yet."""
    made = Installation(tmp_path / "var")
    yield made
    made.kill()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Started from nothing, and stopped again. Making the database takes longest, so that is done once."""
    made = Installation(tmp_path_factory.mktemp("begun") / "var")
    try:
        made.start().ready(within=300)
        made.answered = made.status()
        made.second = Installation(made.var).start()
        made.second.ended()
        os.killpg(made.process.pid, signal.SIGINT)  # what Ctrl-C does to everything in the foreground
        made.ended()
        yield made
    finally:
        made.kill()


@pytest.fixture
def prepared(begun, installation):
    """An installation that ran before, in a folder of its own."""
    begun.copy_to(installation.var)
    return installation


def test_starts_serves_and_frees_every_process_when_told_to_stop(begun, prepared):
    assert begun.answered == 200
    assert {"web", "worker", "beat"} <= {
        line.split("|")[0].split()[-1] for line in begun.said.splitlines() if "|" in line
    } | {line.split("|")[1].split()[0] for line in begun.said.splitlines() if "started (pid" in line}
    assert begun.second.ended() == 1
    assert "runs already" in begun.second.said and f"http://127.0.0.1:{begun.port}" in begun.second.said
    assert begun.ended() == 0
    assert begun.gone()

    prepared.start().ready()
    assert prepared.status() == 200
    prepared.process.terminate()
    assert prepared.ended() == 0
    assert prepared.gone()


def test_one_process_that_dies_brings_the_others_down(prepared):
    installation = prepared.start().ready()
    installation.members("celery", "worker")[0].kill()
    assert installation.ended() not in (0, None)
    assert "worker ended unexpectedly" in installation.said
    assert installation.gone()


def test_nothing_survives_a_supervisor_that_was_killed(prepared):
    installation = prepared.start().ready()
    installation.process.kill()
    deadline = time.monotonic() + 30
    while installation.programs() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert installation.programs() == []
    # The database server cannot know; the next start takes it over and stops it.
    installation.start().ready().process.terminate()
    assert installation.ended() == 0
    assert installation.gone()


def test_a_taken_port_is_named_and_another_is_offered(installation):
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.port))
        other.listen()
        installation.start()
        assert installation.ended() == 1
    assert f"Port {installation.port} on 127.0.0.1 is taken" in installation.said
    assert f"make run PORT={installation.port + 1}" in installation.said
    assert "Traceback" not in installation.said
    assert installation.gone()


@pytest.mark.parametrize("port", ["0", "70000", "eight"])
def test_a_port_that_is_none_is_refused_in_one_line(installation, port):
    installation.start(PORT=port)
    assert installation.ended() == 1
    assert installation.said.strip() == f"Steward cannot start: PORT is '{port}'; it must be a number from 1 to 65535."


def test_a_folder_that_cannot_be_written_is_named(installation, tmp_path):
    obstacle = tmp_path / "file"
    obstacle.write_text("not a folder")
    installation.start(STEWARD_VAR=str(obstacle / "var"))
    assert installation.ended() == 1
    assert str(obstacle / "var") in installation.said and "Set STEWARD_VAR" in installation.said
    assert "Traceback" not in installation.said


def test_a_path_too_long_for_a_socket_works(begun, tmp_path):
    installation = Installation(tmp_path / ("deep-" * 20) / ("folder-" * 10) / "var")
    installation.log = tmp_path / "log"
    assert len(str(installation.var)) > 150
    begun.copy_to(installation.var)
    try:
        installation.start().ready()
        assert installation.status() == 200
        installation.process.terminate()
        assert installation.ended() == 0
        assert installation.gone()
    finally:
        installation.kill()
