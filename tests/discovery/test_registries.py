"""Following other registries: a real second instance is copied, deletions included, whatever interrupts the walk."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registry.audit.models import Event
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotAllowed, NotSignedIn, SecretRefused
from registry.discovery import services, tasks
from registry.discovery.following import read_answer
from registry.discovery.models import ImportJob, RegistryEntry, RegistrySource
from registry.discovery.publications import OFFICIAL
from registry.discovery.services import registries as walking
from tests import factories as make
from tests.discovery import shapes
from tests.listeners import Asked, Listener, Told, http
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def may_ask_ourselves(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


def follow(base_url: str, **facts: Any) -> RegistrySource:
    by = make.acting(facts.pop("by", None) or make.person("security"))
    values = {"name": "Partner", "base_url": base_url}
    return services.follow_registry(actor=by, **(values | facts))


def sync(source: RegistrySource) -> RegistrySource:
    """Its time has come, and a worker does it."""
    RegistrySource.objects.filter(pk=source.pk).update(due_at=clock.now())
    tasks.sync_registry(source_id=str(source.pk))
    source.refresh_from_db()
    return source


def held(source: RegistrySource) -> dict[tuple[str, str], str]:
    return {(each.name, each.version): each.status for each in source.entries.all()}


# --- A real second instance ------------------------------------------------------------------------------


class Upstream:
    """`tests/discovery/upstream.py` in a process of its own, on a copy of the empty test database."""

    def __init__(self, name: str) -> None:
        self.name = name
        parts = urlsplit(django_settings.DATABASE_URL)
        url = urlunsplit(parts._replace(path=f"/{name}"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ, "DATABASE_URL": url, "STEWARD_PROFILE": "embedded", "PUBLISH_ANONYMOUS": "true",
            "CELERY_BROKER_URL": "memory://", "CONN_MAX_AGE": "0", "PYTHONPATH": str(ROOT), "PORT": str(port),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.discovery.upstream", str(port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._hear("ready")

    def _hear(self, word: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == json.dumps(word):
                return
        raise AssertionError("the other registry has died")

    def do(self, what: str, **told: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **told}) + "\n")
        self.process.stdin.flush()
        self._hear("done")

    def offers(self) -> dict[tuple[str, str], str]:
        """What it holds, tombstones included, as its own API tells it."""
        found, cursor = {}, ""
        while True:
            query = {"limit": "100", "include_deleted": "true"} | ({"cursor": cursor} if cursor else {})
            page = httpx.get(f"{self.url}/v0.1/servers", params=query, trust_env=False).json()
            for each in page["servers"]:
                found[each["server"]["name"], each["server"]["version"]] = each["_meta"][OFFICIAL]["status"]
            cursor = page["metadata"].get("nextCursor", "")
            if not cursor:
                return found


@pytest.fixture
def upstream(transactional_db) -> Iterator[Upstream]:
    test_database = connection.settings_dict["NAME"]
    name = f"{test_database}_upstream"
    parts = urlsplit(django_settings.DATABASE_URL)
    connection.close()
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{test_database}"')
        other = Upstream(name)
        try:
            yield other
        finally:
            other.process.kill()
            other.process.wait(10)
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_another_instance_is_copied_and_stays_so(upstream):
    upstream.do("publish", number=230)
    source = follow(upstream.url + "/v0.1/servers")
    assert source.base_url == upstream.url

    # Cut off in the middle, as a worker that is killed: two pages are kept, the third is not.
    take, taken = walking._take_page, []

    def cut_off(*arguments: Any) -> Any:
        if len(taken) == 2:
            raise SystemExit
        taken.append(1)
        return take(*arguments)

    with mock.patch.object(walking, "_take_page", cut_off), pytest.raises(SystemExit):
        sync(source)
    source.refresh_from_db()
    assert (source.state, source.seen, source.entries.count()) == ("running", 200, 200)
    # Nobody else takes it up while somebody may be at it; once it is silent for long, the sweep does.
    assert not services.due_registries()
    tasks.sync_registry(source_id=str(source.pk))
    assert source.entries.count() == 200
    RegistrySource.objects.update(progressed_at=clock.now() - walking.STALLED - timedelta(seconds=1))
    assert list(services.due_registries()) == [source.pk]
    tasks.sync_registry(source_id=str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.seen, source.cursor) == ("idle", 230, "")
    offered = upstream.offers()
    assert held(source) == offered
    assert len(offered) == 230

    # What was read is an import like any other, and makes drafts.
    job = ImportJob.objects.get()
    assert (job.state, job.total, job.source, job.requested_by) == ("queued", 230, "Partner", None)
    services.run_import(job_id=job.pk)
    assert Server.objects.filter(lifecycle="draft").count() == 230

    # Only what changed since is asked for: a new release, and deletions.
    gone = [f"com.example/server-{number:05}" for number in (3, 100, 229)]
    upstream.do("withdraw", names=gone)
    upstream.do("release", name="com.example/server-00050", release="1.1.0")
    sync(source)
    assert held(source) == upstream.offers()
    assert {name for (name, _), status in held(source).items() if status == "deleted"} == {
        *gone, "com.example/server-00050",
    }  # fmt: skip
    assert held(source)["com.example/server-00050", "1.1.0"] == "active"
    latest = ImportJob.objects.order_by("-id").first()
    assert latest.pk != job.pk
    assert list(latest.pending.values_list("name", flat=True)) == ["com.example/server-00050"]
    services.run_import(job_id=latest.pk)
    assert Server.objects.get(name="com.example/server-00050").release == "1.1.0"
    # Nothing governed went away; what was taken back is written on it.
    assert Server.objects.filter(lifecycle="draft").count() == 230
    told = Event.objects.filter(act="server.deleted_elsewhere")
    assert set(told.values_list("subject_label", flat=True)) == {*gone, "com.example/server-00050"}

    # And again: nothing.
    jobs = ImportJob.objects.count()
    sync(source)
    assert held(source) == upstream.offers()
    assert (ImportJob.objects.count(), told.count()) == (jobs, 4)


# --- Answers of all kinds --------------------------------------------------------------------------------


def entry(name: str, version: str = "1.0.0", at: str = "2026-10-01T12:00:00Z", **facts: Any) -> dict[str, Any]:
    official = {"status": "active", "isLatest": True, "publishedAt": at, "updatedAt": at}
    official |= {key: facts.pop(key) for key in ("status", "isLatest", "statusMessage") if key in facts}
    remote = [{"type": "streamable-http", "url": f"https://{name.rpartition('/')[2]}.example.test/mcp"}]
    server = {"name": name, "description": "X", "version": version, "remotes": remote} | facts
    return {"server": server, "_meta": {OFFICIAL: official}}


def page(*entries: Any, cursor: str = "") -> Told:
    metadata: dict[str, Any] = {"count": len(entries)}
    if cursor:
        metadata["nextCursor"] = cursor
    return Told(body={"servers": list(entries), "metadata": metadata})


def asked_for(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}


@pytest.fixture
def registry(db) -> Iterator[tuple[Listener, Callable[..., None]]]:
    """A listener, and what sets its answers: one `Told`, or a function of what is asked."""
    answer: list[Any] = [page()]

    def tell(what: Any) -> None:
        answer[0] = what

    with http(lambda asked: answer[0](asked) if callable(answer[0]) else answer[0]) as listener:
        yield listener, tell


BROKEN = {
    "no JSON": Told(body=b"<html>Not here</html>"),
    "no list": Told(body={"servers": {"a": 1}}),
    "an array": Told(body=b"[1, 2]"),
    "nothing": Told(body=b""),
    "half": Told(body=b'{"servers": ['),
    "deep": Told(body=b"[" * 100_000),
    "a cursor that is a number": Told(body={"servers": [], "metadata": {"nextCursor": 7}}),
    "a long cursor": Told(body={"servers": [], "metadata": {"nextCursor": "x" * 701}}),
    "too many": Told(body={"servers": [{}] * 1001}),
    "404": Told(404, body={"error": "not found"}),
    "401": Told(401),
    "500": Told(500, body=b"oops"),
    "elsewhere": Told(302, headers={"Location": "http://127.0.0.2:9/v0.1/servers"}),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_none_fails_with_a_sentence_and_is_tried_again(broken, registry):
    listener, tell = registry
    source = follow(listener.url().rstrip("/"))
    tell(broken)
    sync(source)
    assert (source.state, source.failures) == ("failed", 1)
    assert len(source.state_reason) > 15
    assert "Traceback" not in source.state_reason
    assert clock.now() < source.due_at <= clock.now() + timedelta(minutes=3)
    assert source.updated_since is None
    sync(source)
    assert source.failures == 2
    assert Event.objects.filter(act="registry.sync_failed").count() == 1

    tell(page(entry("com.example/one")))
    sync(source)
    assert (source.state, source.failures, source.state_reason) == ("idle", 0, "")
    assert held(source) == {("com.example/one", "1.0.0"): "active"}


def test_an_address_inside_the_network_is_refused_unless_it_is_allowed(registry, settings):
    settings.OUTBOUND_ALLOW = []
    listener, _tell = registry
    source = sync(follow(listener.url().rstrip("/")))
    assert source.state == "failed"
    assert listener.asked == []


def test_a_server_that_asks_for_patience_gets_it(registry):
    listener, tell = registry
    tell(Told(429, headers={"Retry-After": "7200"}))
    source = sync(follow(listener.url().rstrip("/")))
    assert source.due_at > clock.now() + timedelta(minutes=110)


def test_a_walk_that_is_refused_in_the_middle_goes_on_where_it_was(registry):
    listener, tell = registry
    source = follow(listener.url().rstrip("/"))
    broken = [True]

    def answer(asked: Asked) -> Told:
        cursor = asked_for(asked).get("cursor", "")
        if not cursor:
            return page(entry("com.example/one"), cursor="two+/=&#")
        return Told(503) if broken[0] else page(entry("com.example/two"))

    tell(answer)
    sync(source)
    assert (source.state, source.cursor, source.seen) == ("failed", "two+/=&#", 1)
    broken[0] = False
    sync(source)
    assert (source.state, source.cursor, source.seen) == ("idle", "", 2)
    assert [asked_for(each).get("cursor") for each in listener.asked] == [None, "two+/=&#", "two+/=&#"]
    assert ImportJob.objects.get().total == 2


def test_a_cursor_that_is_not_known_any_more_starts_from_the_beginning(registry):
    listener, tell = registry
    source = follow(listener.url().rstrip("/"))
    tell(lambda asked: Told(400) if "cursor=" in asked.path else page(entry("com.example/one"), cursor="two"))
    sync(source)
    assert (source.state, source.cursor) == ("failed", "")


def test_a_registry_that_turns_in_a_circle_is_left(registry):
    listener, tell = registry
    tell(page(entry("com.example/one"), cursor="again"))
    source = sync(follow(listener.url().rstrip("/")))
    assert source.state == "failed"
    assert "again" in source.state_reason
    assert len(listener.asked) == 2


def test_the_next_walk_looks_back_behind_the_beginning_of_this_one(registry):
    listener, tell = registry
    source = follow(listener.url().rstrip("/"))
    tell(page(entry("com.example/one", at="2026-10-01T12:00:00.123456789Z"), entry("com.example/two", at="rubbish")))
    sync(source)
    assert source.updated_since.isoformat() == "2026-10-01T11:50:00.123456+00:00"
    # What changed behind the walk while it went on must not be skipped, however new its last page was.
    tell(page(entry("com.example/three", at="2999-01-01T00:00:00Z")))
    sync(source)
    assert asked_for(listener.asked[-1])["updated_since"] == "2026-10-01T11:50:00.123456Z"
    assert source.updated_since == source.started_at - walking.OVERLAP
    since = source.updated_since
    tell(page())
    sync(source)
    assert source.updated_since == since


def test_entries_without_name_or_version_are_passed_over_and_counted(registry):
    listener, tell = registry
    good = entry("com.example/good")
    odd = [7, {}, {"server": None}, entry("no-slash"), entry("com.example/x", version=""), entry("com.example/\x00")]
    plain = {"server": {"name": "com.example/plain", "version": "2"}}
    tell(page(*odd, good, plain, entry("com.example/odd", status="vanished")))
    source = sync(follow(listener.url().rstrip("/")))
    assert (source.state, source.unreadable) == ("idle", 6)
    assert held(source) == {
        ("com.example/good", "1.0.0"): "active",
        ("com.example/plain", "2"): "active",
        ("com.example/odd", "1.0.0"): "deprecated",
    }


@pytest.mark.parametrize(("limits", "pages", "kept", "said"), [
    ({"REGISTRY_MAX_PAGES": 3}, 4, 3, "after 3 pages"),
    ({"REGISTRY_MAX_ENTRIES": 5}, 6, 5, "more than the 5 entries"),
])  # fmt: skip
def test_a_registry_without_end_is_stopped(registry, settings, web, limits, pages, kept, said):
    listener, tell = registry
    for name, most in limits.items():
        setattr(settings, name, most)
    number = count()

    def another(_asked: Asked) -> Told:
        here = next(number)
        return page(entry(f"com.endless/n{here}"), cursor=f"after-{here}")

    tell(another)
    source = sync(follow(listener.url().rstrip("/")))
    assert (source.state, source.due_at, source.pages, source.entries.count()) == ("full", None, pages, kept)
    assert said in source.state_reason and not ImportJob.objects.exists()
    assert Event.objects.filter(act="registry.sync_stopped").count() == 1
    asked = len(listener.asked)
    services.run_sync(source_id=source.pk)
    assert len(listener.asked) == asked
    about = web(make.person()).get("/registries/").content.decode()
    assert "Stopped at its limit" in about and said in about
    settings.REGISTRY_MAX_PAGES = settings.REGISTRY_MAX_ENTRIES = 1000
    tell(page(entry("com.endless/n0")))
    services.resume_registry(actor=make.acting(make.person("security")), source=source)
    services.run_sync(source_id=source.pk)
    source.refresh_from_db()
    assert (source.state, source.state_reason, source.pages) == ("idle", "", 1)


def test_what_cannot_be_read_counts_and_shows_in_the_list(registry, settings, web):
    listener, tell = registry
    tell(page(*[{}] * 4, entry("com.example/good")))
    source = sync(follow(listener.url().rstrip("/")))
    about = web(make.person()).get("/registries/").content.decode()
    assert "4 entries could not be read" in about and "Read, with problems" in about
    settings.REGISTRY_MAX_ENTRIES = 3
    assert sync(source).state == "full"


def test_what_cannot_become_a_draft_says_why_and_keeps_no_secret(registry):
    listener, tell = registry
    leaking = entry(
        "com.example/leaks", remotes=[{"type": "streamable-http", "url": f"https://x.test/{shapes.AWS_KEY}"}]
    )
    noted = entry("com.example/noted", description=f"Use {shapes.AWS_KEY}.")
    tell(page(leaking, noted))
    source = sync(follow(listener.url().rstrip("/")))
    problems = dict(source.entries.values_list("name", "problem"))
    assert "looks like it holds" in problems["com.example/leaks"]
    assert problems["com.example/noted"] == ""
    job = ImportJob.objects.get()
    assert [each.name for each in job.pending.all()] == ["com.example/noted"]
    with connection.cursor() as cursor:
        for table in ("registryentry", "pendingentry", "registrysource"):
            held_there = f"SELECT count(*) FROM discovery_{table} t WHERE t::text LIKE %s"  # noqa: S608 - our names
            cursor.execute(held_there, [f"%{shapes.AWS_KEY}%"])
            assert cursor.fetchone() == (0,), table


def test_only_the_latest_version_becomes_a_draft(registry):
    listener, tell = registry
    tell(page(entry("com.example/one", "1.0.0", isLatest=False), entry("com.example/one", "2.0.0")))
    source = sync(follow(listener.url().rstrip("/")))
    job = ImportJob.objects.get()
    services.run_import(job_id=job.pk)
    assert Server.objects.get().release == "2.0.0"
    assert {each.version: each.job_id for each in source.entries.all()} == {"1.0.0": None, "2.0.0": job.pk}
    # The same once more is nothing to import.
    sync(source)
    assert ImportJob.objects.count() == 1


def test_without_drafts_entries_are_only_listed(registry):
    listener, tell = registry
    tell(page(entry("com.example/one")))
    source = sync(follow(listener.url().rstrip("/"), makes_drafts=False))
    assert source.entries.count() == 1
    assert not ImportJob.objects.exists()


def test_a_governed_server_stays_when_it_is_deleted_there(registry):
    listener, tell = registry
    server = make.active_server(name="com.example/mine")
    tell(page(entry("com.example/mine")))
    source = sync(follow(listener.url().rstrip("/")))
    tell(page(entry("com.example/mine", status="deleted", statusMessage="Malware.\x1b[31m")))
    sync(source)
    server.refresh_from_db()
    assert server.lifecycle == "active"
    event = Event.objects.get(act="server.deleted_elsewhere")
    assert (event.subject_id, event.data["message"]) == (server.pk, "Malware. [31m")


def test_pausing_stops_the_walk_and_resuming_takes_it_up(registry):
    listener, tell = registry
    security = make.acting(make.person("security"))
    source = follow(listener.url().rstrip("/"))

    def answer(asked: Asked) -> Told:
        if "cursor=" in asked.path:
            return page(entry("com.example/two"))
        return page(entry("com.example/one"), cursor="two")

    def pause_then(*arguments: Any) -> Any:
        result = take(*arguments)
        services.pause_registry(actor=security, source=source)
        return result

    tell(answer)
    take = walking._take_page
    with mock.patch.object(walking, "_take_page") as once:
        once.side_effect = lambda *given: pause_then(*given) if once.call_count == 1 else take(*given)
        sync(source)
    source.refresh_from_db()
    assert (source.state, source.due_at, source.entries.count()) == ("paused", None, 1)
    tasks.sync_registry(source_id=str(source.pk))
    assert source.entries.count() == 1
    with pytest.raises(IllegalTransition):
        services.sync_registry(actor=security, source=source)
    services.resume_registry(actor=security, source=source)
    tasks.sync_registry(source_id=str(source.pk))
    source.refresh_from_db()
    assert (source.state, source.entries.count()) == ("idle", 2)


def test_a_message_that_comes_twice_reads_once(registry):
    listener, _tell = registry
    source = sync(follow(listener.url().rstrip("/")))
    tasks.sync_registry(source_id=str(source.pk))
    assert len(listener.asked) == 1


def test_the_sweep_starts_what_is_due(db):
    due, later, paused = (follow(f"https://r{n}.example.test", name=f"R{n}") for n in range(3))
    RegistrySource.objects.filter(pk=later.pk).update(due_at=clock.now() + timedelta(minutes=1))
    services.pause_registry(actor=make.acting(make.person("administrator")), source=paused)
    with mock.patch.object(tasks.sync_registry, "delay") as started:
        tasks.sweep_registries()
    started.assert_called_once_with(source_id=str(due.pk))


# --- Acts and who may ------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"base_url": "ftp://x.example"}, "base_url"),
        ({"base_url": "registry.example"}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"base_url": "https://me:hunter2pass@x.example"}, "base_url"),
        ({"base_url": "https://x.example?key=1"}, "base_url"),
        ({"name": "  "}, "name"),
        ({"interval_minutes": 5}, "interval_minutes"),
        ({"interval_minutes": 99_999}, "interval_minutes"),
        ({"name": "Taken"}, "name"),
        ({"base_url": "https://taken.example.test/v0.1/"}, "base_url"),
    ],
)
def test_an_address_must_be_one(facts, field):
    follow("https://taken.example.test", name="Taken")
    with pytest.raises((Invalid, SecretRefused)) as refused:
        follow(**({"base_url": "https://x.example", "name": "New"} | facts))
    assert field in refused.value.fields
    assert "hunter2pass" not in str(refused.value.fields)


@pytest.mark.django_db
def test_who_decides_which_registries_are_followed():
    for role in ("security", "administrator"):
        follow(f"https://{role}.example.test", name=role, by=make.person(role))
    source = RegistrySource.objects.first()
    acts = [
        lambda by: services.follow_registry(actor=by, name="X", base_url="https://x.example.test"),
        lambda by: services.change_registry(
            actor=by, source=source, name="X", base_url="https://x.example.test", interval_minutes=60, makes_drafts=True
        ),
        lambda by: services.pause_registry(actor=by, source=source),
        lambda by: services.resume_registry(actor=by, source=source),
        lambda by: services.sync_registry(actor=by, source=source),
    ]
    for act in acts:
        for role in ("member", "reviewer", "auditor", "campaign_manager"):
            with pytest.raises(NotAllowed):
                act(make.acting(make.person(role)))
        with pytest.raises(NotSignedIn):
            act(Actor.anonymous())


@pytest.mark.django_db
def test_another_address_is_another_registry():
    source = follow("https://one.example.test")
    RegistrySource.objects.update(updated_since=clock.now(), cursor="x")
    security = make.acting(make.person("security"))
    values = {"name": "New", "interval_minutes": 90, "makes_drafts": False}
    services.change_registry(actor=security, source=source, base_url="https://one.example.test", **values)
    source.refresh_from_db()
    assert source.updated_since is not None
    services.change_registry(actor=security, source=source, base_url="https://two.example.test", **values)
    source.refresh_from_db()
    assert (source.updated_since, source.cursor, source.name, source.makes_drafts) == (None, "", "New", False)
    RegistrySource.objects.update(state="running")
    with pytest.raises(Conflict):
        services.change_registry(actor=security, source=source, base_url="https://three.example.test", **values)
    assert list(Event.objects.filter(subject_type="registrysource").values_list("act", flat=True)) == [
        "registry.edited", "registry.edited", "registry.followed",
    ]  # fmt: skip


# --- Pages and REST --------------------------------------------------------------------------------------


def test_pages_of_a_registry(registry, web):
    listener, tell = registry
    mine = make.active_server(name="com.example/mine", confidential=True)
    tell(page(entry("com.example/one"), entry("com.example/mine"), entry("com.example/gone", status="deleted")))
    source = sync(follow(listener.url().rstrip("/"), name="Partner registry"))
    member, security = web(make.person()), web(make.person("security"))
    listed = member.get("/registries/").content.decode()
    assert "Partner registry" in listed
    assert "/registries/new/" not in listed
    assert "/registries/new/" in security.get("/registries/").content.decode()
    shown = member.get(f"/registries/{source.pk}/").content.decode()
    assert "com.example/one" in shown
    assert f"/servers/{mine.pk}/" not in shown  # confidential
    assert f"/servers/{mine.pk}/" in security.get(f"/registries/{source.pk}/").content.decode()
    assert "com.example/one" not in member.get(f"/registries/{source.pk}/?status=deleted").content.decode()
    for act in ("pause", "resume", "sync", "pause"):
        assert member.post(f"/registries/{source.pk}/{act}/").status_code == 403
        assert security.post(f"/registries/{source.pk}/{act}/").status_code == 302
    source.refresh_from_db()
    assert source.state == "paused"
    answer = security.post(f"/registries/{source.pk}/sync/", follow=True)
    assert "cannot become" in answer.content.decode()
    progress = member.get(f"/registries/{source.pk}/progress/")
    assert progress["HX-Refresh"] == "true"


@pytest.mark.django_db
def test_forms_put_what_is_wrong_beside_its_field(web):
    security = web(make.person("security"))
    values = {"name": "A", "base_url": "https://a.example.test", "interval_minutes": 60, "makes_drafts": "on"}
    answer = security.post("/registries/new/", values | {"base_url": "https://a.example.test/?page=2"})
    assert answer.status_code == 422
    assert "after a question mark" in answer.content.decode()
    assert security.post("/registries/new/", values).status_code == 302
    source = RegistrySource.objects.get()
    edit = f"/registries/{source.pk}/edit/"
    assert source.base_url in security.get(edit).content.decode()
    assert security.post(edit, values | {"name": "B", "version": '"old"'}).status_code == 412
    assert security.post(edit, values | {"name": "B", "version": source.etag}).status_code == 302
    source.refresh_from_db()
    assert source.name == "B"
    assert web(make.person()).post(edit, values).status_code == 403


def test_the_same_over_rest(registry, api):
    listener, tell = registry
    tell(page(entry("com.example/one"), entry("com.example/two", status="deleted")))
    security, member = api(make.person("security")), api(make.person())
    given = {"name": "Partner", "base_url": listener.url().rstrip("/")}
    assert member.post("/api/v1/registries", given).status_code == 403
    made = security.post("/api/v1/registries", given)
    assert made.status_code == 201
    address = f"/api/v1/registries/{made.json()['id']}"
    sync(RegistrySource.objects.get())
    told = member.get(address)
    assert (told.json()["state"], told.json()["entries"]) == (
        "idle", {"active": 1, "deprecated": 0, "deleted": 1, "problem": 0},
    )  # fmt: skip
    listed = member.get(f"{address}/entries?limit=1").json()
    assert [each["name"] for each in listed["results"]] == ["com.example/one"]
    assert [each["name"] for each in member.get(listed["next"]).json()["results"]] == ["com.example/two"]
    assert member.get(f"{address}/entries?status=deleted").json()["results"][0]["name"] == "com.example/two"
    assert member.get("/api/v1/registries").json()["results"][0]["entries"] is None
    changed = security.patch(address, {"interval_minutes": 120}, HTTP_IF_MATCH=told["ETag"])
    assert (changed.status_code, changed.json()["interval_minutes"], changed.json()["name"]) == (200, 120, "Partner")
    assert security.patch(address, {"name": "X"}, HTTP_IF_MATCH=told["ETag"]).status_code == 412
    assert security.patch(address, {"interval_minutes": 1}).status_code == 422
    assert security.post(f"{address}/sync").status_code == 200
    assert security.post(f"{address}/pause").json()["state"] == "paused"
    assert security.post(f"{address}/sync").status_code == 409
    assert member.post(f"{address}/resume").status_code == 403
    assert security.post(f"{address}/resume").json()["state"] == "idle"


@pytest.mark.django_db
def test_pages_ask_as_often_whatever_their_length(web):
    source = follow("https://one.example.test")
    member = web(make.person())

    def statements(address: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            assert member.get(address).status_code == 200
        return len(asked)

    def entries(start: int, end: int) -> None:
        RegistryEntry.objects.bulk_create(
            RegistryEntry(source=source, name=f"com.example/{n}", version="1", status="active", seen_at=clock.now())
            for n in range(start, end)
        )

    entries(0, 1)
    member.get("/registries/")
    few = [statements(address) for address in ("/registries/", f"/registries/{source.pk}/")]
    entries(1, 40)
    for n in range(9):
        follow(f"https://other{n}.example.test", name=f"Other {n}")
    assert [statements(address) for address in ("/registries/", f"/registries/{source.pk}/")] == few
    assert max(few) <= 14


@pytest.mark.django_db
def test_a_page_of_a_hundred_entries_takes_few_statements():
    source = follow("https://one.example.test")
    walking._begin(source.pk)
    walk = RegistrySource.objects.get()

    def statements(number: int, cursor: str) -> int:
        nonlocal walk
        answer = mock.Mock(status=200, headers={})
        answer.json.return_value = {
            "servers": [entry(f"com.example/{cursor}-{n}") for n in range(number)], "metadata": {"nextCursor": cursor},
        }  # fmt: skip
        with CaptureQueriesContext(connection) as asked:
            walk = walking._take_page(walk, read_answer(answer))
        return len(asked)

    assert statements(2, "a") == statements(100, "b") <= 8
