"""`manage.py import_servers`: one report, whatever is handed in."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from registry.catalog.models import Server
from registry.discovery.models import ImportJob
from tests import factories as make
from tests.discovery import shapes

pytestmark = pytest.mark.django_db


def report(*arguments: Any, ends_with: int = 0) -> dict[str, Any]:
    out = StringIO()
    code = 0
    try:
        call_command("import_servers", *map(str, arguments), "--report", "json", stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == ends_with
    return json.loads(out.getvalue())  # exactly one JSON document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "entries.json").write_text(json.dumps(shapes.collection()))
    (tmp_path / "one.json").write_text(json.dumps(shapes.current(name="com.example/one")))
    (tmp_path / "server.yaml").write_text(shapes.DOCKER_YAML.replace("name: warehouse", "name: depot"))
    (tmp_path / "schema.json").write_text('{"$schema": "x", "definitions": {}}')
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe{")
    return tmp_path


def test_one_run_over_several_files(folder: Path) -> None:
    told = report(folder / "entries.json", folder / "one.json", folder / "server.yaml", folder / "schema.json")
    assert told["counts"] == {"imported": 6, "updated": 1, "seen": 0, "skipped": 2, "refused": 2}
    assert [(Path(file["file"]).name, file["outcome"], file["entries"]) for file in told["files"]] == [
        ("entries.json", "read", 9),
        ("one.json", "read", 1),
        ("server.yaml", "read", 1),
        ("schema.json", "refused", 0),
    ]
    assert "not a list of servers" in told["files"][3]["reasons"][0]
    first = told["entries"][0]
    assert first["name"] == "com.example/weather"
    assert (first["file"], first["index"], first["outcome"]) == ("entries.json", 0, "imported")
    assert first["server_id"] == str(Server.objects.get(name="com.example/weather").pk)
    refused = [row for row in told["entries"] if row["outcome"] == "refused"]
    assert all(row["reasons"] and row["server_id"] is None for row in refused)
    for value in shapes.PLANTED:
        assert value not in json.dumps(told)


def test_the_second_run_changes_nothing(folder: Path) -> None:
    report(folder / "entries.json")
    told = report(folder / "entries.json")
    assert told["counts"] == {"imported": 0, "updated": 0, "seen": 0, "skipped": 7, "refused": 2}


def test_a_dry_run_tells_the_same_and_changes_nothing(folder: Path) -> None:
    dry = report(folder / "entries.json", "--dry-run")
    assert not Server.objects.exists()
    assert not ImportJob.objects.exists()
    wet = report(folder / "entries.json")
    assert dry["counts"] == wet["counts"]
    assert [row["outcome"] for row in dry["entries"]] == [row["outcome"] for row in wet["entries"]]


def test_a_file_that_cannot_be_read_is_reported_and_ends_with_2(folder: Path) -> None:
    told = report(folder / "missing.json", folder / "latin.json", folder / "one.json", ends_with=2)
    assert told["counts"]["imported"] == 1
    assert [file["reasons"] for file in told["files"]] == [
        ["This cannot be opened: No such file or directory."],
        ["This is not UTF-8 text."],
        [],
    ]


def test_who_imports(folder: Path) -> None:
    report(folder / "one.json")
    assert ImportJob.objects.get().requested_by is None
    administrator, member = make.person("administrator"), make.person()
    report(folder / "server.yaml")
    assert ImportJob.objects.first().requested_by == administrator
    report(folder / "entries.json", "--user", member.email)
    assert ImportJob.objects.first().requested_by == member
    assert Server.objects.get(name="com.example/search").created_by == member
    with pytest.raises(CommandError, match="nobody@example"):
        report(folder / "one.json", "--user", "nobody@example.test")


def test_the_report_for_people(folder: Path) -> None:
    out = StringIO()
    call_command("import_servers", str(folder / "entries.json"), stdout=out)
    assert out.getvalue().splitlines()[-1] == "4 imported, 1 updated, 0 seen, 2 skipped, 2 refused"


def test_all_real_files_in_one_run_have_every_outcome() -> None:
    if not shapes.REAL.exists():
        return
    told = report(*sorted(shapes.REAL.glob("*.json")))
    assert told["counts"] == {"imported": 409, "updated": 1, "seen": 0, "skipped": 3, "refused": 8}
