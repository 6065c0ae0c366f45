"""Sightings and shadows: what is seen is matched or opened, told once, settled by people, and holds no secret."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, transaction
from django.urls import reverse

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.errors import Changed, IllegalTransition, Invalid, NotAllowed, NotFound, SecretRefused
from registry.discovery import services, tasks
from registry.discovery.formats import read_document
from registry.discovery.models import ImportJob, ImportResult, PendingEntry, Shadow, Sighting
from registry.discovery.plan import File
from registry.discovery.sighting_queries import wizard_facts
from registry.discovery.states import JobState, ShadowState
from tests import factories as make
from tests.discovery import configurations
from tests.discovery.test_services import dump

pytestmark = pytest.mark.django_db
URL = "https://mcp.example.test/mcp"


def report(user: Any, **facts: Any) -> services.Sighted:
    return services.record_sighting(actor=make.acting(user), seen=make.configured(**facts).sighting())


def shadow_of(user: Any, **facts: Any) -> Shadow:
    shadow = report(user, **facts).shadow
    assert shadow is not None
    return shadow


def acts(shadow: Shadow) -> list[str]:
    return list(Event.objects.filter(subject_id=shadow.pk).order_by("id").values_list("act", flat=True))


# --- The whole way ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_every_public_configuration_from_upload_to_report_without_a_secret_kept(
    web: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = configurations.manifest()
    values = {value for each in listed for value in configurations.planted_values(each)}
    assert len(values) == 7
    known = make.draft(endpoints=[{"transport": "streamable-http", "url": "https://api.githubcopilot.com/mcp/"}])
    before = Server.objects.count()
    member = make.person()
    client = web(member)
    pages = ""
    for start in range(0, len(listed), 12):
        uploads = [
            SimpleUploadedFile(each["file"], configurations.text_of(each["file"]).encode())
            for each in listed[start : start + 12]
        ]
        answer = client.post(
            reverse("discovery:import_new"), {"uploads": uploads, "place": f"batch {start}"}, follow=True
        )
        pages += answer.content.decode()
        assert answer.status_code == 200 and ImportJob.objects.filter(state=JobState.PREVIEW).count() == 1
        assert not [value for value in values if value in dump()], "a preview waits in the database as well"
        job = ImportJob.objects.get(state=JobState.PREVIEW)
        client.post(reverse("discovery:import_start", args=[job.pk]))
        services.run_import(job_id=job.pk)
        pages += client.get(reverse("discovery:import", args=[job.pk])).content.decode()

    # The outcome of each entry is the one its manifest leads to, and no server was made or changed by it.
    outcomes = {(each.file, each.index): each for each in ImportResult.objects.select_related("shadow", "server")}
    for file, entries in configurations.EXPECTED.items():
        for index, (name, expected) in enumerate(entries):
            result = outcomes.pop((file, index))
            assert result.name == name
            assert result.outcome == ("refused" if expected == "refused" else "seen")
            if expected == "https://api.githubcopilot.com/mcp":
                assert (result.server, result.shadow) == (known, None)
            elif expected.startswith("local "):
                assert result.shadow.canonical_uri.startswith("local:") and result.shadow.label == expected[6:]
            elif expected != "refused":
                assert result.shadow.canonical_uri == expected
    assert outcomes == {}
    assert Server.objects.count() == before
    assert not PendingEntry.objects.exists()

    flagged = {(each.entry, secret["path"]) for each in Sighting.objects.all() for secret in each.secrets}
    planted = [pointer for each in listed for pointer in each["planted_fake_secrets"]]
    assert sorted(path for _entry, path in flagged) == sorted(planted)

    pages += client.get(reverse("discovery:shadows")).content.decode()
    for shadow in Shadow.objects.all():
        pages += client.get(reverse("discovery:shadow", args=[shadow.pk])).content.decode()
    events = "".join(str(event.data) + event.subject_label for event in Event.objects.all())
    printed = capfd.readouterr()
    everything = dump() + caplog.text + printed.out + printed.err + events + pages
    assert "context7-mcp" in everything
    assert [value for value in values if value in everything] == []


def test_the_same_import_again_adds_nothing(web: Any) -> None:
    member = make.person()
    text = configurations.text_of("03-claude-desktop-cmd-c-npx-key-in-args.json")

    def job(by: Any) -> ImportJob:
        file = File("claude_desktop_config.json", read_document(text, file="claude_desktop_config.json"))
        return services.import_entries(actor=make.acting(by), files=[file, file])

    with clock.at(clock.now() - timedelta(days=3)):
        first = job(member)
    assert {each.outcome for each in first.results.all()[:6]} == {"seen"}
    assert {each.outcome for each in first.results.all()[6:]} == {"skipped"}
    seen = list(Shadow.objects.order_by("pk").values_list("times", "first_seen", "last_seen"))
    assert {times for times, *_ in seen} == {1}
    again = job(member)
    assert {each.outcome for each in again.results.all()} == {"skipped"}
    assert Sighting.objects.count() == 6
    later = list(Shadow.objects.order_by("pk").values_list("times", "first_seen", "last_seen"))
    assert [row[:2] for row in later] == [row[:2] for row in seen]
    assert all(new[2] > old[2] for new, old in zip(later, seen, strict=True)), "still used is told by last_seen"
    # Somebody else's file of the same name is another place.
    job(make.person())
    assert Sighting.objects.count() == 12
    assert set(Shadow.objects.values_list("times", flat=True)) == {2}


# --- Matching --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "raw"),
    [
        ({"url": f"{URL}/"}, {"url": "https://MCP.example.test/mcp"}),
        ({"url": URL}, {"command": "npx", "args": ["-y", "mcp-remote", URL]}),
        ({"url": URL}, {"url": f"{URL}/k3yQ9zX1vB7mN2cT8rW4"}),
        ({"package_registry": "npm", "package_identifier": "@a/b", "package_version": "1.0.0"},
         {"command": "npx", "args": ["@a/b@2.0.0"]}),
        ({"package_registry": "npm", "package_identifier": "@a/b"}, {"command": "npx", "args": ["@a/b@latest"]}),
        ({"package_registry": "pypi", "package_identifier": "my_server", "package_version": "3"},
         {"command": "uvx", "args": ["my-server"]}),
        ({"package_registry": "oci", "package_identifier": "ghcr.io/a/b:1.0"},
         {"command": "docker", "args": ["run", "ghcr.io/a/b:2.0"]}),
        ({"package_registry": "oci", "package_identifier": "docker.io/mcp/time"},
         {"command": "docker", "args": ["run", "-i", "mcp/time"]}),
    ],
)  # fmt: skip
def test_what_is_catalogued_is_matched_in_whatever_release(endpoint: dict[str, str], raw: dict[str, Any]) -> None:
    transport = "streamable-http" if "url" in endpoint else "stdio"
    server = make.draft(endpoints=[{"transport": transport, **endpoint}])
    done = report(make.person(), **raw)
    assert (done.server, done.shadow) == (server, None)
    assert done.sighting.server == server
    assert Event.objects.filter(act="server.seen", subject_id=server.pk).count() == 1


@pytest.mark.parametrize(
    ("endpoint", "raw"),
    [
        ({"url": f"{URL}?project=a"}, {"url": f"{URL}?project=b"}),
        ({"url": URL}, {"url": f"{URL}/other"}),
        ({"package_registry": "npm", "package_identifier": "a-b"}, {"command": "npx", "args": ["a"]}),
        ({"package_registry": "npm", "package_identifier": "a_b"}, {"command": "npx", "args": ["axb"]}),
        ({"package_registry": "pypi", "package_identifier": "same"}, {"command": "npx", "args": ["same"]}),
    ],
)
def test_what_only_looks_alike_is_not(endpoint: dict[str, str], raw: dict[str, Any]) -> None:
    transport = "streamable-http" if "url" in endpoint else "stdio"
    make.draft(endpoints=[{"transport": transport, **endpoint}])
    done = report(make.person(), **raw)
    assert done.server is None and done.shadow is not None


def test_a_server_in_use_is_matched_before_a_draft() -> None:
    endpoint = [{"transport": "streamable-http", "url": URL}]
    make.draft(endpoints=endpoint)
    used = make.active_server(endpoints=endpoint)
    assert report(make.person(), url=URL).server == used


def test_a_local_script_opens_a_shadow_that_is_only_described() -> None:
    shadow = shadow_of(make.person(), command="/home/ada/.venv/bin/python", args=["/home/ada/server.py"], entry="notes")
    assert shadow.label == "python server.py" and shadow.canonical_uri.startswith("local:")


def test_several_places_count_and_move_last_seen() -> None:
    person = make.person()
    with clock.at(clock.now() - timedelta(days=5)):
        shadow = shadow_of(person, url=URL, place="laptop a")
    report(person, url=URL, place="laptop b", entry="other")
    report(make.person(), url=URL, place="laptop b", entry="other")
    shadow.refresh_from_db()
    assert (shadow.times, shadow.version) == (3, 1)
    assert shadow.last_seen - shadow.first_seen > timedelta(days=4)
    assert acts(shadow) == ["shadow.opened", "shadow.seen", "shadow.seen", "shadow.seen"]


def test_a_sighting_cannot_be_changed_nor_a_shadow_deleted() -> None:
    sighting = make.sighting()
    for change in (lambda: Sighting.objects.update(place="x"), sighting.delete, sighting.shadow.delete):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


# --- Settling --------------------------------------------------------------------------------------------


def test_registering_a_server_at_its_address_settles_the_shadow() -> None:
    person = make.person()
    shadow = shadow_of(person, command="npx", args=["-y", "@a/b@1.2.3"], entry="Mine")
    assert wizard_facts(shadow) == {
        "title": "Mine", "transport": "stdio", "package_registry": "npm", "package_identifier": "@a/b",
        "package_version": "1.2.3",
    }  # fmt: skip
    server = make.draft(
        endpoints=[{"transport": "stdio", "package_registry": "npm", "package_identifier": "@a/b",
                    "package_version": "2.0.0"}]
    )  # fmt: skip
    tasks.follow_server(server_id=str(server.pk))
    shadow.refresh_from_db()
    assert (shadow.state, shadow.server) == (ShadowState.REGISTERED, server)
    assert acts(shadow)[-1] == "shadow.registered"
    again = report(make.person(), command="npx", args=["@a/b"])
    assert (again.server, again.shadow) == (server, shadow)
    tasks.follow_server(server_id=str(server.pk))
    assert acts(shadow).count("shadow.registered") == 1


def test_the_catalog_tells_when_a_server_has_another_address(
    django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(tasks.follow_server, "delay", lambda server_id: told.append(server_id))
    with django_capture_on_commit_callbacks(execute=True):
        server = make.draft()
    assert set(told) == {str(server.pk)}


def test_a_key_in_the_path_is_settled_by_the_address_without_it() -> None:
    person = make.person()
    shadow = shadow_of(person, url=f"{URL}/k3yQ9zX1vB7mN2cT8rW4")
    assert wizard_facts(shadow)["url"] == URL
    server = make.draft(endpoints=[{"transport": "streamable-http", "url": URL}])
    assert services.settle_registered(server_id=server.pk) == 1


def test_only_a_server_at_that_address_registers_it() -> None:
    person = make.person()
    shadow = shadow_of(person, url=URL)
    with pytest.raises(Invalid) as refused:
        services.register_shadow(actor=make.acting(person), shadow=shadow, server=make.draft())
    assert "server" in refused.value.fields
    right = make.draft(endpoints=[{"transport": "streamable-http", "url": URL}])
    assert services.register_shadow(actor=make.acting(person), shadow=shadow, server=right).server == right


def test_a_shadow_whose_server_retires_is_open_again_when_it_is_seen() -> None:
    person = make.person()
    owner = make.person()
    shadow = shadow_of(person, url=URL)
    server = make.draft(created_by=owner, endpoints=[{"transport": "streamable-http", "url": URL}])
    services.settle_registered(server_id=server.pk)
    with pytest.raises(Invalid):
        services.reopen_shadow(actor=make.acting(person), shadow=shadow)
    catalog.retire_server(actor=make.acting(make.person("administrator")), server=server, reason="No longer needed.")
    done = report(make.person(), url=URL)
    shadow.refresh_from_db()
    assert done.server is None
    assert (shadow.state, shadow.server) == (ShadowState.OPEN, None)
    assert "retired" in shadow.reason


def test_linking_says_which_server_it_is_and_changes_nothing_of_it() -> None:
    person = make.person()
    shadow, server = shadow_of(person, command="./run.sh"), make.draft()
    etag = server.etag
    services.link_shadow(actor=make.acting(person), shadow=shadow, server=server)
    server.refresh_from_db()
    assert server.etag == etag
    done = report(make.person(), command="./run.sh", entry=shadow.sightings.get().entry)
    assert (done.server, done.shadow, done.sighting.server) == (server, shadow, server)
    assert Sighting.objects.of_server(server).count() == 2
    with pytest.raises(IllegalTransition):
        services.ignore_shadow(
            actor=make.acting(person), shadow=shadow, reason="x", until=clock.today() + timedelta(days=2)
        )
    services.reopen_shadow(actor=make.acting(person), shadow=shadow, reason="It was another one.")
    assert acts(shadow)[-1] == "shadow.reopened"
    assert Shadow.objects.get().server is None


def test_one_links_only_to_what_one_may_see_and_what_is_in_use() -> None:
    person = make.person()
    shadow = shadow_of(person)
    hidden = make.draft(confidential=True)
    with pytest.raises(NotFound):
        services.link_shadow(actor=make.acting(person), shadow=shadow, server=hidden)
    gone = make.draft()
    catalog.retire_server(actor=make.acting(make.person("administrator")), server=gone, reason="No longer needed.")
    gone.refresh_from_db()
    with pytest.raises(Invalid):
        services.link_shadow(actor=make.acting(person), shadow=shadow, server=gone)


def test_ignored_shadows_are_counted_and_come_back() -> None:
    person = make.person()
    shadow, until = shadow_of(person, url=URL), clock.today() + timedelta(days=10)
    services.ignore_shadow(actor=make.acting(person), shadow=shadow, reason="A test of ours.", until=until)
    report(make.person(), url=URL)
    shadow.refresh_from_db()
    assert (shadow.state, shadow.times, shadow.ignored_until) == (ShadowState.IGNORED, 2, until)
    assert services.reopen_expired() == 0
    with clock.at(clock.now() + timedelta(days=10)):
        assert services.reopen_expired() == 0, "the last day counts"
    with clock.at(clock.now() + timedelta(days=11)):
        tasks.sweep_shadows()
    shadow.refresh_from_db()
    assert (shadow.state, shadow.ignored_until) == (ShadowState.OPEN, None)
    assert "A test of ours." in shadow.reason
    assert acts(shadow)[-2:] == ["shadow.seen", "shadow.reopened"]


@pytest.mark.parametrize(
    ("reason", "days", "field"),
    [("", 5, "reason"), ("  ", 5, "reason"), ("Fine", 0, "until"), ("Fine", -1, "until"), ("Fine", 400, "until")],
)
def test_ignoring_wants_a_reason_and_an_end(reason: str, days: int, field: str) -> None:
    person = make.person()
    with pytest.raises(Invalid) as refused:
        services.ignore_shadow(
            actor=make.acting(person), shadow=shadow_of(person), reason=reason, until=clock.today() + timedelta(days)
        )
    assert list(refused.value.fields) == [field]


def test_a_secret_for_a_reason_is_refused() -> None:
    person = make.person()
    shadow, until = shadow_of(person), clock.today() + timedelta(days=5)
    secret = "password=k3yQ9zX1vB7mN2cT8rW4"
    with pytest.raises(SecretRefused):
        services.ignore_shadow(actor=make.acting(person), shadow=shadow, reason=secret, until=until)
    with pytest.raises(SecretRefused):
        services.reopen_shadow(actor=make.acting(person), shadow=shadow, reason=secret)


def test_who_may_settle_a_shadow() -> None:
    reporter, until = make.person(), clock.today() + timedelta(days=5)
    shadow = shadow_of(reporter)
    server = make.draft()
    for stranger in (make.person(), make.person("reviewer"), make.outsider()):
        for act in (
            lambda who: services.ignore_shadow(actor=who, shadow=shadow, reason="Ours.", until=until),
            lambda who: services.link_shadow(actor=who, shadow=shadow, server=server),
            lambda who: services.register_shadow(actor=who, shadow=shadow, server=server),
            lambda who: services.reopen_shadow(actor=who, shadow=shadow),
        ):
            with pytest.raises(NotAllowed):
                act(make.acting(stranger))
    for allowed in (reporter, make.person("security"), make.person("administrator")):
        services.ignore_shadow(actor=make.acting(allowed), shadow=shadow, reason="Ours.", until=until)
        services.reopen_shadow(actor=make.acting(allowed), shadow=shadow)
    with pytest.raises(Changed):
        services.reopen_shadow(actor=make.acting(reporter), shadow=shadow, expected_version='"old.1"')
    with pytest.raises(NotAllowed):
        report(make.outsider())


def test_what_became_a_confidential_server_is_seen_by_those_who_see_it() -> None:
    reporter, security = make.person(), make.person("security")
    shadow = shadow_of(reporter)
    services.link_shadow(actor=make.acting(security), shadow=shadow, server=make.draft(confidential=True))
    for query in (Shadow.objects, Sighting.objects):
        assert query.visible_to(make.acting(security)).count() == 1
        assert query.visible_to(make.acting(reporter)).count() == 0
        assert query.visible_to(make.acting(make.outsider())).count() == 0


# --- REST ------------------------------------------------------------------------------------------------
TEXT = '{"servers": {"a": {"url": "https://mcp.example.test/mcp", "headers": {"X-Api-Key": "k3yQ9zX1vB7mN2cT8rW4"}},}}'


def test_a_fleet_tool_pushes_a_configuration(api: Any) -> None:
    member = make.person()
    client = api(member, "discovery:read", "discovery:write")
    body = {"client": "vscode", "place": "laptop-7", "scope": "user", "configuration": TEXT}
    answer = client.post("/api/v1/sightings", body)
    assert answer.status_code == 201, answer.json()
    (result,) = answer.json()["results"]
    shadow = Shadow.objects.get()
    assert result == {
        "entry": "a", "canonical_uri": URL, "new": True, "catalogued": False, "server": None, "shadow": str(shadow.pk),
        "secrets": [{"path": "/servers/a/headers/X-Api-Key", "looks": "named-value", "redaction": "[REDACTED]"}],
    }  # fmt: skip
    assert client.post("/api/v1/sightings", body).json()["results"][0]["new"] is False
    listed = client.get("/api/v1/sightings", {"shadow": str(shadow.pk), "inline_secret": "true"}).json()["results"]
    assert [each["place"] for each in listed] == ["laptop-7"]
    assert client.get(f"/api/v1/sightings/{listed[0]['id']}").json()["client"] == "vscode"
    assert "k3yQ9" not in answer.content.decode() + str(listed)


def test_a_gateway_pushes_normalised_sightings(api: Any) -> None:
    server = make.draft(endpoints=[{"transport": "streamable-http", "url": URL}])
    body = {
        "client": "edge-gateway", "place": "eu-1",
        "sightings": [
            {"entry": "a", "url": URL},
            {"entry": "b", "package": {"registry": "npm", "identifier": "@a/b", "version": "1.0.0"}},
            {"entry": "c", "command": "uvx", "args": ["pkg"]},
            {"entry": "d"},
        ],
    }  # fmt: skip
    answer = api(make.person()).post("/api/v1/sightings", body).json()
    assert [each["canonical_uri"] for each in answer["results"]] == [URL, "npm:@a/b", "pypi:pkg"]
    assert answer["results"][0]["server"] == str(server.pk)
    assert [each["entry"] for each in answer["refused"]] == ["d"]


def test_of_a_server_one_may_not_see_one_learns_only_that_it_is_known(api: Any) -> None:
    make.draft(confidential=True, endpoints=[{"transport": "streamable-http", "url": URL}])
    body = {"client": "cursor", "place": "p", "sightings": [{"entry": "a", "url": URL}]}
    (result,) = api(make.person()).post("/api/v1/sightings", body).json()["results"]
    assert (result["catalogued"], result["server"], result["shadow"]) == (True, None, None)
    assert api(make.person()).get("/api/v1/sightings").json()["results"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"configuration": None}, "configuration"),
        ({"configuration": "{"}, "configuration"),
        ({"configuration": '[{"name": "a/b"}]'}, "configuration"),
        ({"configuration": {"colour": "blue"}}, "configuration"),
        ({"configuration": 7}, "configuration"),
        ({"place": "password=k3yQ9zX1vB7mN2cT8rW4"}, "place"),
        ({"client": "no slug"}, "client"),
        ({"scope": "galaxy"}, "scope"),
    ],
)
def test_what_cannot_be_reported_is_said_by_field(api: Any, change: dict[str, Any], field: str) -> None:
    body = {"client": "vscode", "place": "p", "configuration": TEXT, **change}
    answer = api(make.person()).post(
        "/api/v1/sightings", {name: value for name, value in body.items() if value is not None}
    )
    assert answer.status_code == 422
    assert field in str(answer.json()["errors"])
    assert "k3yQ9" not in answer.content.decode()
    assert not Sighting.objects.exists()


def test_shadows_over_rest(api: Any) -> None:
    reporter, server = make.person(), make.draft()
    shadow = shadow_of(reporter, url=URL)
    client = api(reporter)
    address = f"/api/v1/shadows/{shadow.pk}"
    found = client.get(address)
    assert found.json()["state"] == "open"
    until = clock.today() + timedelta(days=5)
    ignored = client.post(f"{address}/ignore", {"reason": "Ours.", "until": until}, HTTP_IF_MATCH=found["ETag"])
    assert (ignored.status_code, ignored.json()["state"]) == (200, "ignored")
    assert client.post(f"{address}/reopen", {}, HTTP_IF_MATCH=found["ETag"]).status_code == 412
    assert client.post(f"{address}/reopen", {}).json()["state"] == "open"
    assert client.post(f"{address}/register", {"server": str(server.pk)}).status_code == 422
    assert client.post(f"{address}/link", {"server": str(server.pk)}).json()["server"] == str(server.pk)
    assert client.post(f"{address}/link", {"server": str(server.pk)}).status_code == 409
    assert api(make.person()).post(f"{address}/reopen", {}).status_code == 403
    assert api(make.person(), "discovery:read").post(f"{address}/reopen", {}).status_code == 403
    listed = client.get("/api/v1/shadows", {"state": "linked", "client": "cursor"}).json()["results"]
    assert [each["id"] for each in listed] == [str(shadow.pk)]
    assert client.get("/api/v1/shadows", {"inline_secret": "true"}).json()["results"] == []
    assert client.get("/api/v1/shadows", {"colour": "blue"}).status_code == 422


def test_too_many_at_once_are_refused(api: Any) -> None:
    many = [{"entry": str(number), "url": f"{URL}/{number}"} for number in range(services.MAX_REPORTED + 1)]
    answer = api(make.person()).post("/api/v1/sightings", {"client": "c", "place": "p", "sightings": many})
    assert answer.status_code == 422


def test_the_command_reads_configurations_as_well(tmp_path: Path) -> None:
    from django.core.management import call_command

    make.person("administrator")
    file = tmp_path / "mcp.json"
    file.write_text(TEXT)
    call_command("import_servers", str(file))
    assert Sighting.objects.get().client == "vscode"
