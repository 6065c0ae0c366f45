"""Probes as acts and pages: who may ask, what is kept, when it is looked at again, and what survives a crash."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse

from registry.audit.models import Event
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.errors import Conflict, NotAllowed
from registry.core.limits import Limit, TooOften
from registry.discovery import services
from registry.discovery.models import Probe, Snapshot, Watch
from registry.discovery.services import probes
from registry.discovery.states import ProbeState
from tests.discovery.fake_servers import PATH, Fake, Protected, serving
from tests.factories import acting, active_server, draft, outsider, person
from tests.listeners import Told, http
from tests.ports import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def by_clock(settings):
    settings.PROBE_BY_CLOCK = True


@pytest.fixture
def fake(settings):
    """A server that listens on this machine; `fake.url(PATH)` is its endpoint."""
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    with serving(Fake()) as listener:
        yield listener


def active_at(url, **facts):
    return active_server(endpoints=[{"transport": "streamable-http", "url": url}], **facts)


def watch_of(server):
    return Watch.objects.get(server=server, identity="anonymous")


# --- Asking ---------------------------------------------------------------------------------------------


def test_accountable_people_security_and_administrators_may_ask(fake):
    server = active_at(fake.url(PATH))
    for user in (server.owner, server.deputy, person("security"), person("administrator")):
        assert services.request_probe(actor=acting(user), server=server).state == ProbeState.QUEUED
    for user in (person(), person("reviewer"), person("auditor"), outsider()):
        with pytest.raises(NotAllowed):
            services.request_probe(actor=acting(user), server=server)
    assert Event.objects.filter(act="probe.requested", subject_id=server.pk).count() == 1


def test_one_that_is_under_way_is_handed_out(fake):
    server = active_at(fake.url(PATH))
    by = acting(server.owner)
    first = services.request_probe(actor=by, server=server)
    assert services.request_probe(actor=by, server=server) == first
    services.run_probe(probe_id=first.pk)
    assert services.request_probe(actor=by, server=server) != first


def test_what_cannot_be_asked_is_said():
    packaged = active_server(
        endpoints=[{"transport": "stdio", "package_registry": "npm", "package_identifier": "@example/server"}]
    )
    with pytest.raises(Conflict, match="probe_stdio"):
        services.request_probe(actor=acting(packaged.owner), server=packaged)
    retired = active_server()
    catalog.retire_server(actor=acting(retired.owner), server=retired, reason="Replaced.")
    with pytest.raises(Conflict, match="retired"):
        services.request_probe(actor=acting(retired.owner), server=retired)


# --- Looking --------------------------------------------------------------------------------------------


def test_a_probe_leaves_steps_and_a_snapshot(fake):
    server = active_at(fake.url(PATH))
    probe = services.request_probe(actor=acting(server.owner), server=server)
    services.run_probe(probe_id=probe.pk)
    probe.refresh_from_db()
    assert probe.state == ProbeState.FINISHED
    assert [step["outcome"] for step in probe.steps][:2] == ["doing", "pass"]
    snapshot = probe.snapshot
    assert (snapshot.outcome, snapshot.channel, snapshot.server) == ("listed", "probe", server)
    assert [tool["name"] for tool in snapshot.definitions.tools] == ["delete_branch", "search"]
    watch = watch_of(server)
    assert watch.last == snapshot
    assert watch.claimed_at is None
    asked = len(fake.asked)
    services.run_probe(probe_id=probe.pk)
    assert len(fake.asked) == asked, "a task that is delivered twice looks once"


def test_steps_are_there_while_the_look_lasts(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    fake, seen = Fake(), []

    with http(lambda asked: fake(asked)) as listener:
        server = active_at(listener.url(PATH))
        probe = services.request_probe(actor=acting(server.owner), server=server)
        tell = probes._tell

        def told(mine, claimed_at, steps):
            tell(mine, claimed_at, steps)
            seen.append(Probe.objects.get(pk=mine.pk))

        probes_tell, probes._tell = probes._tell, told
        try:
            services.run_probe(probe_id=probe.pk)
        finally:
            probes._tell = probes_tell
    assert [len(each.steps) for each in seen] == list(range(1, len(seen) + 1))
    assert {each.state for each in seen} == {ProbeState.RUNNING}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(Protected(), "protected"), (lambda _asked: Told(200, "<h1>"), "not_mcp"), (lambda _asked: Told(503), "failed")],
)
def test_what_is_no_listing_is_kept_as_well(settings, answer, outcome):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    with serving(answer) as listener:
        server = active_at(listener.url(PATH))
        services.run_probe(probe_id=services.request_probe(actor=acting(server.owner), server=server).pk)
    snapshot = Snapshot.objects.get(server=server)
    assert (snapshot.outcome, snapshot.definitions) == (outcome, None)
    assert snapshot.detail


def test_an_inside_address_is_refused_and_never_asked():
    with http(Fake()) as listener:
        server = active_at(listener.url(PATH))
        services.run_probe(probe_id=services.request_probe(actor=acting(server.owner), server=server).pk)
        assert listener.connections == 0
    assert Snapshot.objects.get(server=server).outcome == "refused"


# --- The clock ------------------------------------------------------------------------------------------


def test_active_servers_are_watched_and_others_not(fake):
    active = active_at(fake.url(PATH))
    plain = draft(endpoints=[{"transport": "streamable-http", "url": fake.url("/draft")}])
    services.watch_endpoints()
    assert watch_of(active).host == "127.0.0.1"
    assert clock.now() <= watch_of(active).due_at <= clock.now() + timedelta(hours=1)
    assert not Watch.objects.filter(server=plain).exists()
    services.watch_endpoints()
    assert Watch.objects.filter(server=active).count() == 1
    catalog.suspend_server(actor=acting(active.owner), server=active, reason="Looks wrong.")
    services.watch_endpoints()
    assert watch_of(active).due_at is None


def test_what_is_due_is_queued_once_and_looked_at_by_tier(fake, settings):
    server = active_at(fake.url(PATH))
    services.watch_endpoints()
    assert services.sweep_probes() == []
    Watch.objects.filter(server=server).update(due_at=clock.now())
    (probe_id,) = services.sweep_probes()
    assert services.sweep_probes() == []
    assert Probe.objects.get(pk=probe_id).requested_by is None
    with clock.at(clock.now() + timedelta(seconds=61)):
        assert services.sweep_probes() == [probe_id], "a lost message is sent again"
    for round_number in range(3):
        services.run_probe(probe_id=probe_id)
        if round_number < 2:
            Watch.objects.filter(server=server).update(due_at=clock.now())
            (probe_id,) = services.sweep_probes()
    wait = watch_of(server).due_at - clock.now()
    usual = services.interval(server.tier)
    assert usual * 0.89 < wait < usual * 1.11


def test_without_the_clock_only_what_was_asked_for_is_looked_at(web, fake, settings):
    settings.PROBE_BY_CLOCK = False
    server = active_at(fake.url(PATH))
    assert services.sweep_probes() == []
    assert not Watch.objects.filter(server=server).exists()
    page = web(server.owner).get(reverse("discovery:server_probes", args=[server.pk])).content.decode()
    assert "Probing by the clock is switched off here." in page
    probe = services.request_probe(actor=acting(server.owner), server=server)
    with clock.at(clock.now() + timedelta(seconds=61)):
        assert services.sweep_probes() == [probe.pk]


def test_the_intervals_are_a_setting(settings):
    assert services.interval("critical") == timedelta(days=1)
    assert services.interval("low") == timedelta(days=14)
    assert services.interval("") == services.interval("medium")
    settings.PROBE_INTERVAL_DAYS = {**settings.PROBE_INTERVAL_DAYS, "critical": 0.5}
    assert services.interval("critical") == timedelta(hours=12)


def test_a_server_that_is_down_is_looked_at_soon_and_then_less_often(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    server = active_at(f"http://127.0.0.1:{free_port()}/mcp")
    waits = []
    for _ in range(12):
        services.run_probe(probe_id=services.request_probe(actor=acting(server.owner), server=server).pk)
        waits.append(watch_of(server).due_at - clock.now())
    assert Snapshot.objects.filter(server=server).latest("id").outcome == "unreachable"
    assert waits[0] < timedelta(minutes=17)
    assert waits[2] > timedelta(minutes=50)
    assert waits[-1] <= services.interval(server.tier) * 1.11
    assert waits[-1] > services.interval(server.tier) * 0.89


# --- Workers --------------------------------------------------------------------------------------------


def test_at_most_two_looks_at_one_host_go_on_at_once(fake):
    servers = [active_at(fake.url(f"/mcp?{n}")) for n in range(3)]
    queued = [services.request_probe(actor=acting(each.owner), server=each) for each in servers]
    assert [probes._claim(each.pk) is not None for each in queued] == [True, True, False]
    queued[2].refresh_from_db()
    assert queued[2].state == ProbeState.QUEUED
    Watch.objects.filter(server=servers[0]).update(claimed_at=None)
    assert probes._claim(queued[2].pk) is not None


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_the_same_moment_share_the_limit(fake):
    servers = [active_at(fake.url(f"/mcp?{n}")) for n in range(6)]
    queued = [services.request_probe(actor=acting(each.owner), server=each) for each in servers]
    claimed, start = [], threading.Barrier(6)

    def claim(probe_id):
        try:
            start.wait()
            claimed.append(probes._claim(probe_id))
        finally:
            connection.close()

    threads = [threading.Thread(target=claim, args=(each.pk,)) for each in queued]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in claimed if each is not None]) == 2


def test_a_claim_of_a_dead_worker_is_taken_over_and_its_late_words_count_for_nothing(fake):
    server = active_at(fake.url(PATH))
    probe = services.request_probe(actor=acting(server.owner), server=server)
    dead = probes._claim(probe.pk)
    assert probes._claim(probe.pk) is None
    with clock.at(clock.now() + timedelta(minutes=4)):
        assert services.sweep_probes() == [probe.pk]
        services.run_probe(probe_id=probe.pk)
    probe.refresh_from_db()
    assert probe.state == ProbeState.FINISHED
    with pytest.raises(probes._Overtaken):
        probes._tell(dead, dead.watch.claimed_at, [{"said": "late"}])
    assert Snapshot.objects.filter(server=server).count() == 1


def test_a_probe_nobody_finishes_is_given_up_and_holds_nothing_up(fake):
    server = active_at(fake.url(PATH))
    services.watch_endpoints()
    probe = services.request_probe(actor=acting(server.owner), server=server)
    probes._claim(probe.pk)
    with clock.at(clock.now() + timedelta(minutes=61)):
        services.sweep_probes()
        probe.refresh_from_db()
        assert probe.state == ProbeState.FAILED
        assert probe.steps[-1]["outcome"] == "fail"
        assert services.request_probe(actor=acting(server.owner), server=server).state == ProbeState.QUEUED


def test_our_own_mistake_ends_the_probe_with_a_sentence(fake, monkeypatch):
    server = active_at(fake.url(PATH))
    probe = services.request_probe(actor=acting(server.owner), server=server)

    def broken(*_args, **_options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(probes, "record_snapshot", broken)
    services.run_probe(probe_id=probe.pk)
    probe.refresh_from_db()
    assert (probe.state, probe.steps[-1]["said"]) == ("failed", "Something went wrong on our side; it is logged.")
    assert watch_of(server).claimed_at is None


# --- Addresses nobody registered ------------------------------------------------------------------------


def test_an_address_can_be_looked_at_before_it_is_registered(fake):
    user = person()
    seen = services.look_at_address(actor=acting(user), address=f" {fake.url(PATH)} ")
    assert [tool["name"] for tool in seen.listing.tools] == ["search", "delete_branch"]
    assert not Snapshot.objects.exists()
    assert services.look_at_address(actor=acting(user), address="http://10.0.0.1/").outcome == "refused"
    with pytest.raises(NotAllowed):
        services.look_at_address(actor=acting(outsider()), address=fake.url(PATH))


def test_nobody_maps_ports_by_addresses_nobody_reviewed(settings, fake):
    user = person()
    free = free_port()
    with http(lambda _asked: Told(404)) as other:
        looks = [
            services.look_at_address(actor=acting(user), address=url)
            for url in (f"http://127.0.0.1:{free}/mcp", other.url(PATH))
        ]
    assert {(seen.outcome, seen.detail, seen.milliseconds) for seen in looks} == {
        ("unreachable", "No MCP server answers there.", 0)
    }
    assert not any(seen.posture for seen in looks)
    # A draft says no more than that either.
    server = draft(endpoints=[{"transport": "streamable-http", "url": f"http://127.0.0.1:{free}/mcp"}])
    probe = services.request_probe(actor=acting(server.owner or server.created_by), server=server)
    services.run_probe(probe_id=probe.pk)
    probe.refresh_from_db()
    assert [step["said"] for step in probe.steps] == ["No MCP server answers there."]


def test_addresses_nobody_reviewed_are_asked_only_so_often(monkeypatch):
    monkeypatch.setattr(probes, "look_discreetly", lambda *_args, **_options: None)
    monkeypatch.setattr(probes, "UNREVIEWED_LOOKS", Limit("unreviewed-looks", 3, 3600))
    user = person()
    for _number in range(3):
        services.look_at_address(actor=acting(user), address="https://mcp.example/")
    with pytest.raises(TooOften):
        services.look_at_address(actor=acting(user), address="https://mcp.example/")
    services.look_at_address(actor=acting(person()), address="https://mcp.example/")


# --- Pages ----------------------------------------------------------------------------------------------


def test_the_panel_shows_the_last_look_and_who_may_ask_for_another(web, fake):
    server = active_at(fake.url(PATH))
    address = reverse("discovery:server_probes", args=[server.pk])
    owner = web(server.owner)
    assert b"Not looked at yet" in owner.get(address).content
    services.run_probe(probe_id=services.request_probe(actor=acting(server.owner), server=server).pk)
    page = owner.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "Listed its tools" in page and "Probe now" in page and "It lists its tools to anybody" in page
    assert "<h1" not in page
    assert "Probe now" not in web(person()).get(address).content.decode()


def test_asking_from_the_page_leads_to_the_probe(web, fake):
    server = active_at(fake.url(PATH))
    owner = web(server.owner)
    asked = owner.post(reverse("discovery:probe_now", args=[server.pk]), {"endpoint": server.endpoints.get().pk})
    probe = Probe.objects.get(server=server)
    assert asked.url == reverse("discovery:probe", args=[probe.pk])
    page = owner.get(asked.url).content.decode()
    assert "every 1s" in page and "Reload to see" in page
    progress = reverse("discovery:probe_progress", args=[probe.pk])
    assert "HX-Refresh" not in owner.get(progress).headers
    services.run_probe(probe_id=probe.pk)
    assert owner.get(progress).headers["HX-Refresh"] == "true"
    page = owner.get(asked.url).content.decode()
    assert "It speaks MCP 2026-07-28." in page and "every 1s" not in page and "Probe again" in page
    assert web(person()).post(reverse("discovery:probe_now", args=[server.pk])).status_code == 403
    assert owner.post(reverse("discovery:probe_now", args=[server.pk]), {"endpoint": "x"}).status_code == 404


def test_all_looks_of_a_server_are_listed(web, fake, django_assert_max_num_queries):
    server = active_at(fake.url(PATH))
    for _ in range(4):
        services.run_probe(probe_id=services.request_probe(actor=acting(server.owner), server=server).pk)
    client = web(person())
    address = reverse("discovery:looks", args=[server.pk])
    with django_assert_max_num_queries(12):
        page = client.get(address).content.decode()
    assert page.count("Listed its tools") >= 4
    assert "No look ended so." in client.get(f"{address}?outcome=failed").content.decode()


def test_a_confidential_servers_probes_are_seen_by_its_own(web, api, fake):
    server = active_at(fake.url(PATH), confidential=True)
    probe = services.request_probe(actor=acting(server.owner), server=server)
    stranger = web(person())
    for name, pk in (("server_probes", server.pk), ("looks", server.pk), ("probe", probe.pk)):
        assert stranger.get(reverse(f"discovery:{name}", args=[pk])).status_code == 404
        assert web(server.owner).get(reverse(f"discovery:{name}", args=[pk])).status_code == 200
    assert stranger.post(reverse("discovery:probe_now", args=[server.pk])).status_code == 404
    assert api(person()).get(f"/api/v1/probes/{probe.pk}").status_code == 404


def test_a_servers_own_words_are_shown_inert(web, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    fake = Fake()

    def answer(asked):
        told = fake(asked)
        if isinstance(told.body, dict) and asked.json["method"] == "server/discover":
            info = told.body["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]
            info["name"] = "<script>alert(1)</script>\u202eevil"
        return told

    with http(answer) as listener:
        server = active_at(listener.url(PATH))
        probe = services.request_probe(actor=acting(server.owner), server=server)
        services.run_probe(probe_id=probe.pk)
    page = web(server.owner).get(reverse("discovery:probe", args=[probe.pk])).content.decode()
    assert "<script>alert" not in page and "\u202e" not in page and "&lt;script&gt;" in page


# --- REST -----------------------------------------------------------------------------------------------


def test_automation_asks_and_follows(api, fake):
    server = active_at(fake.url(PATH))
    client = api(server.owner)
    asked = client.post("/api/v1/probes", {"server": str(server.pk)})
    assert asked.status_code == 202, asked.content
    body = asked.json()
    assert (body["state"], body["endpoint"], body["steps"]) == ("queued", str(server.endpoints.get().pk), [])
    services.run_probe(probe_id=body["id"])
    done = client.get(f"/api/v1/probes/{body['id']}").json()
    assert done["state"] == "finished" and done["snapshot"] and done["steps"][0]["outcome"] == "doing"
    assert [each["id"] for each in client.get(f"/api/v1/probes?server={server.pk}").json()["results"]] == [body["id"]]
    assert api(person()).post("/api/v1/probes", {"server": str(server.pk)}).status_code == 403
    assert api(server.owner, "discovery:read").post("/api/v1/probes", {"server": str(server.pk)}).status_code == 403
    wrong = {"server": str(server.pk), "endpoint": str(server.pk)}
    assert client.post("/api/v1/probes", wrong).status_code == 422


# --- Worker ---------------------------------------------------------------------------------------------


@pytest.mark.worker
@pytest.mark.django_db(transaction=True)
def test_a_real_worker_looks(worker):
    """The worker's own process refuses this machine, and says so in a snapshot."""
    server = active_at("https://127.0.0.1:9/mcp")
    probe = services.request_probe(actor=acting(server.owner), server=server)
    worker.wait_for(lambda: Snapshot.objects.filter(server=server).first(), "the look")
    worker.wait_for(lambda: Probe.objects.get(pk=probe.pk).state == ProbeState.FINISHED, "the end of the probe")
    assert Snapshot.objects.get(server=server).outcome == "refused"


# --- Browser --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_page_follows_the_look_to_its_end(new_page, fake):
    server = active_at(fake.url(PATH))
    page = new_page(server.owner)
    page.goto(reverse("catalog:server_tab", args=[server.pk, "discovery"]))
    page.get_by_role("button", name="Probe now").click()
    page.get_by_text("A worker takes it up in a moment").wait_for()
    services.run_probe(probe_id=Probe.objects.get(server=server).pk)
    page.get_by_text("Listed its tools").wait_for()
    assert page.get_by_role("button", name="Probe again").is_visible()
    assert page.locator("[hx-trigger='every 1s']").count() == 0
