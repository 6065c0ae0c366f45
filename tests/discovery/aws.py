"""AWS to test against: moto's server as a process of its own, with IAM enforced and every request recorded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.ports import free_port

REGION = "eu-central-1"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "discovery.md"


def documented_policy() -> str:
    """The policy that docs/discovery.md tells people to use, as it stands there."""
    section = DOCS.read_text().split("\n## Secret sources\n")[1]
    found = re.search(r"```json\n(.+?)\n```", section, re.DOTALL)
    assert found is not None
    return found[1]


@dataclass
class Aws:
    url: str
    recorded: Path
    admin: Any
    """Secrets Manager as somebody who may do everything."""
    key: str
    secret: str
    """Credentials of a user with the documented policy and nothing else."""

    def client(self) -> Any:
        return client(self.url, "secretsmanager", self.key, self.secret)

    def asked(self) -> list[str]:
        """The operations of Secrets Manager that were asked since the last `forget`, whoever asked."""
        lines = self.recorded.read_text().splitlines() if self.recorded.exists() else []
        targets = [json.loads(line)["headers"].get("X-Amz-Target", "") for line in lines]
        return [each.partition(".")[2] for each in targets if each.startswith("secretsmanager.")]

    def forget(self) -> None:
        self.recorded.write_text("")


def client(url: str, service: str, key: str, secret: str) -> Any:
    return boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION).client(
        service, endpoint_url=url, config=Config(retries={"total_max_attempts": 1})
    )


@contextmanager
def emulator(folder: Path) -> Iterator[Aws]:
    port, recorded = free_port(), folder / "asked.jsonl"
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        # Making the administrator takes three calls by nobody; from then on every call is judged.
        "INITIAL_NO_AUTH_ACTION_COUNT": "3",
        "MOTO_ENABLE_RECORDING": "1",
        "MOTO_RECORDER_FILEPATH": str(recorded),
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(url)
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        root = client(url, "iam", "AKIAIOSFODNN7EXAMPLE", "root")
        key, secret = _user(root, "admin", json.dumps({"Version": "2012-10-17", "Statement": everything}))
        limited = _user(client(url, "iam", key, secret), "steward", documented_policy())
        yield Aws(url, recorded, client(url, "secretsmanager", key, secret), *limited)
    finally:
        process.terminate()
        process.wait(10)


def _user(iam: Any, name: str, policy: str) -> tuple[str, str]:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def _wait(url: str) -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/", timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError("moto's server did not start")
