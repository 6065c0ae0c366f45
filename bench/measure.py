"""How benchmarks set up a database of their own, measure, and report."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPORT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def parse(name: str, argv: list[str], **defaults: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"bench {name}")
    parser.add_argument("--no-report", action="store_true", help="print only, do not append to docs/performance.md")
    for option, value in defaults.items():
        parser.add_argument(f"--{option.replace('_', '-')}", type=int, default=value)
    return parser.parse_args(argv)


@contextmanager
def fresh_database() -> Iterator[None]:
    """An empty, migrated database beside the others, dropped afterwards."""
    import django

    django.setup()
    import logging

    from django.conf import settings
    from django.test.utils import get_runner

    logging.disable(logging.WARNING)
    settings.CELERY_BROKER_URL = "memory://"
    settings.ALLOWED_HOSTS = ["*"]
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    runner = get_runner(settings)(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        yield
    finally:
        runner.teardown_databases(databases)


def timed(call: Callable[[], Any], *, seconds: float = 3.0, least: int = 20) -> dict[str, float]:
    """Repeat `call` for a while after a warm-up: milliseconds at the median and the 99th percentile, and the rate."""
    for _ in range(3):
        call()
    took: list[float] = []
    started = time.perf_counter()
    while len(took) < least or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        took.append((time.perf_counter() - before) * 1000)
    took.sort()
    return {
        "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[min(len(took) - 1, int(len(took) * 0.99))], 2),
        "per_second": round(len(took) / (sum(took) / 1000), 1),
    }


def report(rows: list[dict[str, Any]], *, write: bool) -> None:
    for row in rows:
        print(json.dumps(row))
    if not write:
        return
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    command = f'make bench ARGS="{" ".join(sys.argv[1:])}"'
    lines = [f"\n### {datetime.now(UTC):%Y-%m-%d %H:%M} UTC · `{command}`", f"{machine}\n", "```json"]
    with REPORT.open("a") as out:
        out.write("\n".join([*lines, *(json.dumps(row) for row in rows), "```", ""]))


def timed_sql(sql: str, params: list[Any] | None = None) -> dict[str, float]:
    """The same question asked of PostgreSQL alone, rows fetched: the floor under whatever is built on it."""
    from django.db import connection

    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            cursor.fetchall()

    return timed(ask)
