"""What an operator starts is safe without knowing more than the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ("SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL", "METRICS_TOKEN", "PUBLISH_PATH_TOKEN")
VALUES = {
    "SECRET_KEY": "0f9c-not-a-real-key-but-long-enough-Zk3vQp81LmWx72hRtYbN5sAe4uGd",
    "DATABASE_URL": "postgres://nobody:quite-secret@localhost:1/nothing",
    "CELERY_BROKER_URL": "redis://:quite-secret@localhost:1/0",
    "EMAIL_URL": "smtp+tls://user:quite-secret@mail.example.test:587",
    "METRICS_TOKEN": "metrics-quite-secret",
    "PUBLISH_PATH_TOKEN": "0123456789abcdefghijklmnop",
}


def manage(tmp_path, *words, **variables):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    production = {
        "STEWARD_PROFILE": "production",
        "BASE_URL": "https://steward.example.org",
        "STEWARD_VAR": str(tmp_path),
    }
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=kept | production | variables,
        capture_output=True,
        text=True,
    )


def test_the_production_profile_passes_djangos_own_check_with_secrets_from_files(tmp_path):
    files = {}
    for name in SECRETS:
        (tmp_path / name).write_text(f"{VALUES[name]}\n")
        files[f"{name}_FILE"] = str(tmp_path / name)
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **files)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "no issues" in done.stdout + done.stderr


def test_a_secret_twice_or_unreadable_is_said_without_it(tmp_path):
    twice = manage(tmp_path, "check", **VALUES, SECRET_KEY_FILE=str(tmp_path / "SECRET_KEY"))
    assert twice.returncode != 0 and "SECRET_KEY and SECRET_KEY_FILE are both set" in twice.stderr
    assert VALUES["SECRET_KEY"] not in twice.stderr and "quite-secret" not in twice.stderr


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_requirements_are_wheels_pinned_by_hash_and_nothing_else(name):
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(wanted) > 50
    for line in wanted:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+( *;[^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+", line), line[:120]
    install = (ROOT / "requirements" / "install.sh").read_text()
    assert "--require-hashes" in install and "--only-binary :all:" in install and "--no-deps" in install
