"""Real OpenID providers on free ports: npm `oidc-provider`, installed once under `var/test-servers`."""

from __future__ import annotations

import fcntl
import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.accounts.openid.configuration import Provider
from tests.discovery.public_servers import FOLDER, _run, install, running
from tests.ports import free_port

SCRIPT = Path(__file__).with_name("op.mjs")
PACKAGE = {"oidc-provider": "9.13.3"}
SECRET = "only-for-tests-only-for-tests-only"


def node_and_npm() -> tuple[str, tuple[str, ...]]:
    """Those of the machine, else those the other public test servers bring along."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, (npm,)
    found = install().node
    cli = found.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(found), (str(found), str(cli))


def installed() -> tuple[str, Path]:
    """The interpreter, and a folder in which the package can be imported."""
    node, npm = node_and_npm()
    place = FOLDER / "openid"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = json.dumps({"private": True, "type": "module", "dependencies": PACKAGE})
        manifest = place / "package.json"
        done = place / "installed"
        if not done.exists() or done.read_text() != wanted:
            manifest.write_text(wanted)
            _run(
                *npm,
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--loglevel=error",
                "--prefix",
                str(place),
            )
            done.write_text(wanted)
    shutil.copy(SCRIPT, place / "op.mjs")  # Node looks for packages beside the script
    return node, place


@dataclass
class RunningProvider:
    name: str
    issuer: str
    client_id: str = "steward"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def provider(self) -> Provider:
        """As the operator would configure it."""
        return Provider(
            name=self.name,
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=SECRET,
            scopes="openid email profile groups",
            **self.settings,
        )

    def say(self, account: str, **facts: Any) -> None:
        """What it says about somebody from now on: groups, disabled, email, verified, name."""
        body = json.dumps({"account": account, **facts}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.issuer}/control", data=body), timeout=5).close()


@contextmanager
def openid_provider(
    name: str, base_url: str, *, alg: str, refresh: bool, method: str, **settings: Any
) -> Iterator[RunningProvider]:
    """One provider that knows the registry at `base_url` as its client."""
    node, place = installed()
    port = free_port()
    environment = {
        "PORT": str(port),
        "ALG": alg,
        "CLIENT_ID": "steward",
        "CLIENT_SECRET": SECRET,
        "REDIRECTS": json.dumps([f"{base_url}/oidc/{name}/callback"]),
        "LOGOUTS": json.dumps([f"{base_url}/sign-in"]),
        "REFRESH": "1" if refresh else "",
        "TOKEN_AUTH": method,
    }
    issuer = f"http://127.0.0.1:{port}"
    with running([node, str(place / "op.mjs")], f"{issuer}/.well-known/openid-configuration", environment):
        yield RunningProvider(name, issuer, settings=settings)
