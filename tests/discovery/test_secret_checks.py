"""Secret sources over time: what is asked when, what follows, who may, and that no value is ever kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from registry.audit.models import Event
from registry.catalog.models import SecretSource, Server
from registry.catalog.services import set_secret_sources
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, NotSignedIn, SecretRefused
from registry.discovery import services, stores, tasks
from registry.discovery.models import SecretAttestation, SecretCheck, SecretWatch
from registry.discovery.secret_states import interval, limit, sources_visible_to, with_state
from registry.discovery.stores import Looked, Store, aws
from registry.discovery.stores.looked import Outcome, cannot
from registry.reviews.facts import evidence_of
from tests import factories as make
from tests.discovery.aws import Aws, emulator
from tests.discovery.test_services import dump

PLANTED = "planted-4b7e-never-to-be-seen"
pytestmark = pytest.mark.django_db


class Shelf:
    """A store that answers as told, in the place of Vault."""

    def __init__(self) -> None:
        self.answer = Looked(Outcome.VERIFIED)
        self.asked: list[str] = []

    def check(self, reference: str) -> Looked:
        self.asked.append(reference)
        return self.answer


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setitem(stores.STORES, "vault", Store(lambda: "", made.check))
    return made


def state_of(source: SecretSource) -> str:
    return with_state(SecretSource.objects.filter(pk=source.pk)).get().state


def named(server: Server, *sources: dict[str, Any]) -> list[SecretSource]:
    set_secret_sources(
        actor=make.acting(server.owner),
        server=server,
        sources=[{"credential_type": "rotated", "revocable_by": "On-call", **each} for each in sources],
    )
    return list(server.secret_sources.filter(retired_at=None))


# --- States ----------------------------------------------------------------------------------------------


def test_a_source_nobody_asked_about_was_never_checked(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    assert state_of(source) == "never_checked"


def test_without_access_it_cannot_be_checked_and_says_so() -> None:
    server = make.active_server()
    assert state_of(make.source_of(server)) == "cannot_check"
    seen = services.check_secret_source(actor=make.acting(server.owner), source=make.source_of(server))
    assert seen.outcome == "cannot_check" and "VAULT_ADDR" in seen.detail


@pytest.mark.parametrize("outcome", ["verified", "not_found", "deleted"])
def test_what_the_store_says_is_the_state(shelf: Shelf, outcome: str) -> None:
    source = make.source_of(make.active_server())
    shelf.answer = Looked(Outcome(outcome))
    services.run_secret_check(source_id=source.pk)
    source.refresh_from_db()
    assert (state_of(source), source.verification) == (outcome, outcome)
    assert (source.verified_at is not None) == (outcome == "verified")


def test_a_verification_grows_stale_and_bad_news_does_not(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    services.run_secret_check(source_id=source.pk)
    after = limit(source.server.tier)
    for late, state in ((after - timedelta(hours=1), "verified"), (after + timedelta(hours=1), "stale")):
        with clock.at(clock.now() + late):
            assert state_of(source) == state
    shelf.answer = Looked(Outcome.DELETED)
    services.run_secret_check(source_id=source.pk)
    with clock.at(clock.now() + after * 2):
        assert state_of(source) == "deleted"


@pytest.mark.parametrize("tier", ["critical", "low"])
def test_how_long_a_verification_counts_depends_on_the_tier(shelf: Shelf, tier: str, settings: Any) -> None:
    source = make.source_of(make.active_server())
    Server.objects.filter(pk=source.server_id).update(tier=tier)
    services.run_secret_check(source_id=source.pk)
    days = settings.SECRET_CHECK_INTERVAL_DAYS[tier] * 3
    with clock.at(clock.now() + timedelta(days=days, hours=-1)):
        assert state_of(source) == "verified"
    with clock.at(clock.now() + timedelta(days=days, hours=1)):
        assert state_of(source) == "stale"


def test_a_store_that_cannot_be_asked_takes_nothing_back(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    services.run_secret_check(source_id=source.pk)
    shelf.answer = cannot("busy")
    services.run_secret_check(source_id=source.pk)
    assert state_of(source) == "verified"
    assert source.checks.count() == 2


def test_a_word_counts_until_its_end_and_after_the_store(shelf: Shelf) -> None:
    server = make.active_server()
    source = make.source_of(server)
    shelf.answer = cannot("busy")
    services.run_secret_check(source_id=source.pk)
    assert state_of(source) == "cannot_check"
    make.secret_attestation(server, until=clock.today() + timedelta(days=10))
    assert state_of(source) == "attested"
    with clock.at(clock.now() + timedelta(days=11)):
        assert state_of(source) == "stale"
    shelf.answer = Looked(Outcome.NOT_FOUND)
    services.run_secret_check(source_id=source.pk)
    assert state_of(source) == "not_found"


def test_no_credential_needs_no_check() -> None:
    server = make.active_server(secret={"kind": "none", "reason": "Public data only."})
    source = make.source_of(server)
    assert state_of(source) == "not_needed"
    for act in (
        lambda: services.check_secret_source(actor=make.acting(server.owner), source=source),
        lambda: make.secret_attestation(server),
    ):
        with pytest.raises(Conflict):
            act()


def test_a_kind_without_a_store_is_attested_not_checked() -> None:
    server = make.active_server(
        secret={"kind": "file", "reference": "/etc/warehouse/token", "credential_type": "static"}
    )
    source = make.source_of(server)
    with pytest.raises(Conflict, match="attests"):
        services.check_secret_source(actor=make.acting(server.owner), source=source)
    assert state_of(source) == "never_checked"
    make.secret_attestation(server)
    assert state_of(source) == "attested"


# --- Rotation --------------------------------------------------------------------------------------------

NOON = clock.now().replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.mark.parametrize(
    ("declared", "rotated", "changed", "expected"),
    [
        (None, 10, 10, 10),
        (None, None, 10, None),
        (30, 10, 10, 10),  # rotated since
        (5, None, 3, 5),  # put by hand, which the store does not call a rotation
        (5, 20, 20, 20),  # cannot be true: nothing changed for 20 days
        (5, None, 20, 20),
        (20, 21, 21, 20),  # a day of another time zone
        (5, None, None, 5),
    ],
)
def test_the_store_knows_better_when_it_was_rotated(
    shelf: Shelf, declared: int | None, rotated: int | None, changed: int | None, expected: int | None
) -> None:
    def ago(days: int | None) -> Any:
        return None if days is None else NOON - timedelta(days=days)

    source = make.source_of(make.active_server())
    SecretSource.objects.filter(pk=source.pk).update(last_rotated_on=declared and ago(declared).date())
    shelf.answer = Looked(Outcome.VERIFIED, last_rotated_at=ago(rotated), last_changed_at=ago(changed))
    services.run_secret_check(source_id=source.pk)
    source.refresh_from_db()
    assert source.last_rotated_on == (expected and ago(expected).date())


def test_overdue_rotation_is_told(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    for days, overdue in ((30, False), (31, True)):
        SecretSource.objects.filter(pk=source.pk).update(last_rotated_on=clock.today() - timedelta(days=days))
        seen = with_state(SecretSource.objects.filter(pk=source.pk)).get()
        assert (seen.overdue, seen.rotate_by) == (overdue, clock.today() - timedelta(days=days - 30))


# --- What follows ----------------------------------------------------------------------------------------


def test_being_looked_up_moves_no_fingerprint_and_is_no_edit(shelf: Shelf) -> None:
    server = make.active_server()
    source = make.source_of(server)
    before, version = evidence_of(server), (source.version, source.updated_at)
    for outcome in (Outcome.VERIFIED, Outcome.DELETED, Outcome.VERIFIED):
        shelf.answer = Looked(outcome, last_rotated_at=clock.now(), last_changed_at=clock.now())
        services.run_secret_check(source_id=source.pk)
        source.refresh_from_db()
        after = evidence_of(server)
        assert (after.facts, after.fingerprint) == (before.facts, before.fingerprint)
        assert after.context["secrets"][0]["verification"] == outcome, "reviewers see it"
        assert (source.version, source.updated_at) == version


def test_only_news_is_an_event_but_every_look_is_kept(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    for _number in range(3):
        services.run_secret_check(source_id=source.pk)
    assert source.checks.count() == 3
    assert Event.objects.filter(act="server.secret_source_checked").count() == 1
    assert Event.objects.filter(act="server.secret_source_verified").count() == 1


def test_checks_and_words_cannot_be_changed(shelf: Shelf) -> None:
    server = make.active_server()
    services.run_secret_check(source_id=make.source_of(server).pk)
    make.secret_attestation(server)
    for model in (SecretCheck, SecretAttestation):
        rows = model.objects.all()
        for change in (lambda rows=rows: rows.update(at=clock.now()), lambda rows=rows: rows._raw_delete("default")):
            with pytest.raises(ProgrammingError, match="Cannot update or delete"), transaction.atomic():
                change()


# --- The clock -------------------------------------------------------------------------------------------


def test_sources_of_servers_in_use_are_looked_up_by_the_clock(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    make.complete_draft()
    services.sweep_secret_checks()
    assert list(SecretWatch.objects.values_list("pk", flat=True)) == [source.pk]
    with clock.at(clock.now() + timedelta(days=2)):
        assert services.sweep_secret_checks() == [source.pk]
        assert services.sweep_secret_checks() == [], "taken up by one"
        services.run_secret_check(source_id=source.pk)
    assert shelf.asked == [source.reference]
    assert SecretWatch.objects.get().due_at > clock.now() + timedelta(days=2)


def test_what_a_killed_worker_took_up_comes_again(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    services.sweep_secret_checks()
    later = clock.now() + timedelta(days=2)
    with clock.at(later):
        assert services.sweep_secret_checks() == [source.pk]
    with clock.at(later + timedelta(minutes=11)):
        assert services.sweep_secret_checks() == [source.pk]


def test_without_access_nothing_is_swept() -> None:
    make.active_server()
    assert services.sweep_secret_checks() == []
    assert not SecretWatch.objects.exists()


def test_access_that_is_taken_away_stops_the_sweep(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make.source_of(make.active_server())
    services.sweep_secret_checks()
    monkeypatch.setitem(stores.STORES, "vault", Store(lambda: "no access", shelf.check))
    with clock.at(clock.now() + timedelta(days=2)):
        assert services.sweep_secret_checks() == []
        services.run_secret_check(source_id=source.pk)
    assert shelf.asked == []
    assert SecretWatch.objects.get().due_at is None


def test_a_store_that_cannot_be_asked_is_asked_ever_more_rarely(shelf: Shelf) -> None:
    source = make.source_of(make.active_server())
    shelf.answer, waits = cannot("busy"), []
    now = clock.now()
    with clock.at(now):
        for _number in range(12):
            services.run_secret_check(source_id=source.pk)
            waits.append((SecretWatch.objects.get().due_at - now).total_seconds() / 60)
        assert 13 <= waits[0] <= 17 and 26 <= waits[1] <= 34 and 52 <= waits[2] <= 67
        assert max(waits) <= interval(source.server.tier).total_seconds() / 60 * 1.1, (
            "never more rarely than by its tier"
        )
        shelf.answer = Looked(Outcome.VERIFIED)
        services.run_secret_check(source_id=source.pk)
    assert SecretWatch.objects.get().failures == 0


def test_looks_do_not_bunch(shelf: Shelf) -> None:
    for _number in range(4):
        make.active_server()
    services.sweep_secret_checks()
    now = clock.now()
    for watch in SecretWatch.objects.all():
        services.run_secret_check(source_id=watch.pk)
    waits = [(watch.due_at - now).total_seconds() for watch in SecretWatch.objects.all()]
    assert len(set(waits)) == 4 and max(waits) - min(waits) > 1


def test_picking_what_is_due_costs_the_same_for_many(shelf: Shelf) -> None:
    def cost(servers: int) -> int:
        for _number in range(servers):
            make.active_server()
        with clock.at(clock.now() + timedelta(days=30)), CaptureQueriesContext(connection) as queries:
            services.sweep_secret_checks()
        return len(queries)

    assert cost(1) == cost(4)


def test_the_beat_sends_each_due_source_to_a_worker(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sent = make.source_of(make.active_server()), []
    monkeypatch.setattr(tasks.run_secret_check, "delay", lambda **given: sent.append(given))
    services.sweep_secret_checks()
    with clock.at(clock.now() + timedelta(days=2)):
        tasks.sweep_secret_checks()
    assert sent == [{"source_id": str(source.pk)}]


# --- Who may ---------------------------------------------------------------------------------------------


def test_a_draft_tells_nobody_what_a_store_holds(shelf: Shelf, settings: Any) -> None:
    person = make.person()
    team = make.team()
    team.memberships.create(user=person)
    server = make.complete_draft(owner=person, in_team=team)
    source = make.source_of(server)
    start = source.reference.rpartition("/")[0]
    for allowed in ({}, {"Others": [start]}, {team.name: ["elsewhere/"]}):
        settings.SECRET_CHECK_PREFIXES = allowed
        with pytest.raises(NotAllowed):
            services.check_secret_source(actor=make.acting(person), source=source)
    assert not shelf.asked
    settings.SECRET_CHECK_PREFIXES = {team.name: [start]}
    with pytest.raises(NotAllowed):
        services.check_secret_source(actor=make.acting(make.person()), source=source)
    assert services.check_secret_source(actor=make.acting(person), source=source).outcome == "verified"
    assert services.check_secret_source(actor=make.acting(make.person("security")), source=source)


def test_others_see_the_state_and_no_more(shelf: Shelf, web: Any, api: Any) -> None:
    shelf.answer = Looked(Outcome.VERIFIED, rotation_enabled=True, last_rotated_at=clock.now() - timedelta(days=11))
    server = make.active_server()
    source = make.source_of(server)
    services.run_secret_check(source_id=source.pk)
    for user, sees in ((server.owner, True), (make.person("auditor"), True), (make.person(), False)):
        (state,) = api(user).get("/api/v1/secret-states").json()["results"]
        assert state["state"] == "verified" and bool(state["rotated_on"] and state["last_check"]) is sees
        assert bool(api(user).get("/api/v1/secret-checks").json()["results"]) is sees
        assert len(web(user).get("/secret-sources/?overdue=false").context["rows"]) == sees
        page = web(user).get(f"/secret-sources/{source.pk}/").content.decode()
        assert "Verified" in page and ("11 days" in page) is sees
        assert "Verified" in web(user).get("/secret-sources/").content.decode()
        assert web(user).get(f"/observed/{server.pk}/secret-sources/").status_code == 200
        row = b"".join(web(user).get("/secret-sources/list.csv").streaming_content).decode().splitlines()[1]
        assert row.endswith(',""' * 8) is not sees


def test_who_may_have_it_checked(shelf: Shelf) -> None:
    server = make.active_server()
    source = make.source_of(server)
    for user in (server.owner, server.deputy, make.person("security")):
        assert services.check_secret_source(actor=make.acting(user), source=source).outcome == "verified"
    for role in ((), ("reviewer",), ("auditor",), ("administrator",)):
        with pytest.raises(NotAllowed):
            services.check_secret_source(actor=make.acting(make.person(*role)), source=source)
    for user in (make.outsider(),):
        with pytest.raises(NotAllowed):
            services.check_secret_source(actor=make.acting(user), source=source)
    with pytest.raises(NotSignedIn):
        services.check_secret_source(actor=Actor.anonymous(), source=source)


def test_who_may_give_their_word() -> None:
    server = make.active_server()
    operator = make.person()
    Server.objects.filter(pk=server.pk).update(operator=operator)
    server.refresh_from_db()
    source, until = make.source_of(server), clock.today() + timedelta(days=30)
    for user in (server.owner, server.deputy, operator):
        said = services.attest_secret_source(actor=make.acting(user), source=source, statement="Seen.", until=until)
        assert said.by == user
    for user in (make.person(), make.person("security"), make.person("administrator"), make.outsider()):
        with pytest.raises(NotAllowed):
            services.attest_secret_source(actor=make.acting(user), source=source, statement="Seen.", until=until)
    with pytest.raises(NotSignedIn):
        services.attest_secret_source(actor=Actor.anonymous(), source=source, statement="Seen.", until=until)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"statement": "  "}, "statement"),
        ({"until": clock.today()}, "until"),
        ({"until": clock.today() + timedelta(days=367)}, "until"),
        ({"last_rotated_on": clock.today() + timedelta(days=1)}, "last_rotated_on"),
    ],
)
def test_a_word_has_words_and_an_end(given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        make.secret_attestation(make.active_server(), **given)
    assert field in refused.value.fields
    assert not SecretAttestation.objects.exists()


def test_a_word_that_holds_a_secret_is_refused() -> None:
    with pytest.raises(SecretRefused):
        make.secret_attestation(make.active_server(), statement="password=Xq7-9fJk2!mmvR4tzp")
    assert not SecretAttestation.objects.exists()


def test_asking_again_at_once_gives_the_answer_that_is_there(shelf: Shelf) -> None:
    server = make.active_server()
    ask = {"actor": make.acting(server.owner), "source": make.source_of(server)}
    assert services.check_secret_source(**ask) == services.check_secret_source(**ask)
    assert len(shelf.asked) == 1
    with clock.at(clock.now() + timedelta(seconds=31)):
        services.check_secret_source(**ask)
    assert len(shelf.asked) == 2


def test_a_source_or_server_that_retired_is_left_alone(shelf: Shelf) -> None:
    server = make.active_server()
    old = make.source_of(server)
    named(server, {"kind": "vault", "reference": "kv/data/other"})
    old.refresh_from_db()
    with pytest.raises(Conflict):
        services.check_secret_source(actor=make.acting(server.owner), source=old)
    services.run_secret_check(source_id=old.pk)
    assert shelf.asked == []


# --- Pages and REST --------------------------------------------------------------------------------------


def test_the_list_shows_states_and_is_filtered(shelf: Shelf, web: Any) -> None:
    there, gone = make.active_server(), make.active_server()
    services.run_secret_check(source_id=make.source_of(there).pk)
    shelf.answer = Looked(Outcome.NOT_FOUND, "Vault has no metadata at this path.")
    services.run_secret_check(source_id=make.source_of(gone).pk)
    member = web(make.person("auditor"))
    page = member.get(reverse("discovery:secret_sources")).content.decode()
    assert make.source_of(there).reference in page and "Vault has no metadata" in page
    for query, shown, hidden in (
        ("state=not_found", gone, there),
        ("state=verified&kind=vault", there, gone),
        (f"q={there.name}", there, gone),
    ):
        for name in ("discovery:secret_sources", "discovery:secret_sources_csv"):
            answer = member.get(f"{reverse(name)}?{query}")
            text = b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()
            assert make.source_of(shown).reference in text, (query, name)
            assert make.source_of(hidden).reference not in text, (query, name)


def test_overdue_is_a_filter(shelf: Shelf, web: Any, api: Any) -> None:
    late, fine = make.source_of(make.active_server()), make.source_of(make.active_server())
    SecretSource.objects.filter(pk=late.pk).update(last_rotated_on=clock.today() - timedelta(days=99))
    member = make.person("auditor")
    page = web(member).get(reverse("discovery:secret_sources") + "?overdue=true").content.decode()
    assert late.reference in page and fine.reference not in page and "overdue: 99 of 30 days" in page
    found = api(member).get("/api/v1/secret-states?overdue=true").json()["results"]
    assert [row["id"] for row in found] == [str(late.pk)] and found[0]["overdue"] is True


def test_a_list_of_many_costs_what_a_list_of_few_costs(shelf: Shelf, web: Any, api: Any) -> None:
    member = make.person()
    browser, machine = web(member), api(member)

    def cost(ask: Any) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert ask().status_code == 200
        return len(queries)

    pages = (
        lambda: browser.get(reverse("discovery:secret_sources")),
        lambda: machine.get("/api/v1/secret-states"),
        lambda: machine.get("/api/v1/secret-checks"),
        lambda: machine.get("/api/v1/secret-attestations"),
    )

    def fill(number: int) -> None:
        for _number in range(number):
            server = make.active_server()
            services.run_secret_check(source_id=make.source_of(server).pk)
            make.secret_attestation(server)

    fill(2)
    for page in pages:
        cost(page)  # what is kept for the process is read once
    few = [cost(page) for page in pages]
    fill(5)
    assert [cost(page) for page in pages] == few


def test_the_panel_offers_what_one_may(shelf: Shelf, web: Any) -> None:
    server = make.active_server()
    panel = reverse("discovery:server_secrets", args=[server.pk])
    for user, check, attest in (
        (server.owner, True, True),
        (make.person("security"), True, False),
        (make.person(), False, False),
    ):
        page = web(user).get(panel, headers={"HX-Request": "true"}).content.decode()
        assert ("Check now" in page, "Attest" in page) == (check, attest), user
        assert "<html" not in page


def test_a_page_checks_and_attests(shelf: Shelf, web: Any) -> None:
    server = make.active_server()
    source, owner = make.source_of(server), web(server.owner)
    page = reverse("discovery:secret_source", args=[source.pk])
    assert owner.post(reverse("discovery:secret_source_check", args=[source.pk])).url == page
    attest = reverse("discovery:secret_source_attest", args=[source.pk])
    refused = owner.post(attest, {"statement": "", "until": "2020-01-01"})
    assert refused.status_code == 422
    until = clock.today() + timedelta(days=30)
    assert owner.post(attest, {"statement": "Seen in the console.", "until": until.isoformat()}).url == page
    text = owner.get(page).content.decode()
    assert "Verified" in text and "Seen in the console." in text


def test_strangers_may_not_and_what_is_confidential_does_not_exist(shelf: Shelf, web: Any, api: Any) -> None:
    server = make.active_server(confidential=True)
    source, stranger = make.source_of(server), make.person()
    for name in ("secret_source", "secret_source_check", "secret_source_attest"):
        address = reverse(f"discovery:{name}", args=[source.pk])
        ask = web(stranger).get if name == "secret_source" else web(stranger).post
        assert ask(address).status_code == 404, name
    assert web(stranger).get(reverse("discovery:server_secrets", args=[server.pk])).status_code == 404
    body = {"source": str(source.pk)}
    assert api(stranger).post("/api/v1/secret-checks", body, format="json").status_code == 422
    assert api().post("/api/v1/secret-checks", body, format="json").status_code == 401
    assert api(stranger).get("/api/v1/secret-states").json()["results"] == []
    open_one = make.source_of(make.active_server())
    answer = api(stranger).post("/api/v1/secret-checks", {"source": str(open_one.pk)}, format="json")
    assert answer.status_code == 403
    assert shelf.asked == []


def test_rest_checks_and_attests(shelf: Shelf, api: Any) -> None:
    server = make.active_server()
    source, owner = make.source_of(server), api(server.owner)
    shelf.answer = Looked(Outcome.VERIFIED, facts={"versions": 3})
    made = owner.post("/api/v1/secret-checks", {"source": str(source.pk)}, format="json")
    assert made.status_code == 201 and made.json()["facts"] == {"versions": 3}
    assert owner.get(f"/api/v1/secret-checks/{made.json()['id']}").json() == made.json()
    body = {"source": str(source.pk), "statement": "Seen.", "until": (clock.today() + timedelta(days=9)).isoformat()}
    said = owner.post("/api/v1/secret-attestations", body, format="json")
    assert said.status_code == 201
    state = owner.get(f"/api/v1/secret-states/{source.pk}").json()
    assert (state["state"], state["last_check"], state["attestation"]) == (
        "verified", made.json()["id"], said.json()["id"],
    )  # fmt: skip
    far = body | {"until": date(2099, 1, 1).isoformat()}
    assert owner.post("/api/v1/secret-attestations", far, format="json").status_code == 422
    assert api(server.owner, "discovery:read").post("/api/v1/secret-checks", body, format="json").status_code == 403


# --- No value, anywhere ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with emulator(tmp_path_factory.mktemp("aws")) as running:
        for number in range(3):
            running.admin.create_secret(
                Name=f"prod/{number}",
                SecretString=PLANTED,
                Description=PLANTED,
                Tags=[{"Key": "note", "Value": PLANTED}],
            )
        running.admin.rotate_secret(SecretId="prod/1", RotationRules={"AutomaticallyAfterDays": 30})
        running.admin.delete_secret(SecretId="prod/2")
        yield running


@pytest.mark.django_db(transaction=True)
def test_a_full_sweep_reads_no_value_and_keeps_none(
    emulated: Aws, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AWS_REGION, settings.AWS_ENDPOINT_URL_SECRETS_MANAGER = "eu-central-1", emulated.url
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", emulated.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", emulated.secret)
    aws._client.cache_clear()
    server = make.active_server()
    kinds = {"kind": "aws_secrets_manager"}
    sources = named(server, *({**kinds, "reference": f"prod/{number}"} for number in range(4)))
    emulated.forget()
    caplog.set_level(logging.DEBUG)
    services.sweep_secret_checks()
    with clock.at(clock.now() + timedelta(days=2)):
        tasks.sweep_secret_checks.apply()
        for source_id in SecretWatch.objects.values_list("pk", flat=True):
            tasks.run_secret_check.apply(kwargs={"source_id": str(source_id)})
        states = {source.reference: source.state for source in sources_visible_to(make.acting(server.owner))}
    assert states == {"prod/0": "verified", "prod/1": "verified", "prod/2": "deleted", "prod/3": "not_found"}
    rotating = next(each for each in sources if each.reference == "prod/1")
    rotating.refresh_from_db()
    assert rotating.last_rotated_on is not None and rotating.checks.first().rotation_enabled is True
    assert set(emulated.asked()) == {"DescribeSecret"}
    text = dump()
    assert "prod/1" in text
    assert PLANTED not in text and emulated.secret not in text
    assert caplog.records and PLANTED not in caplog.text and emulated.secret not in caplog.text
    assert PLANTED not in json.dumps([event.data for event in Event.objects.all()], default=str)
    with pytest.raises(Exception, match="not authorized to perform: secretsmanager:GetSecretValue"):
        emulated.client().get_secret_value(SecretId="prod/0")
    aws._client.cache_clear()


def test_an_error_of_ours_says_nothing_of_what_was_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_reference: str) -> Looked:
        raise RuntimeError(PLANTED)

    monkeypatch.setitem(stores.STORES, "vault", Store(lambda: "", broken))
    source = make.source_of(make.active_server())
    services.run_secret_check(source_id=source.pk)
    seen = source.checks.get()
    assert seen.outcome == "cannot_check" and PLANTED not in seen.detail
    assert "secret_check_failed" in caplog.text and PLANTED not in caplog.text


def test_answers_of_stores_are_not_logged(settings: Any) -> None:
    """botocore and urllib3 write whole answers and addresses into their debug logs."""
    loggers = settings.LOGGING["loggers"]
    assert {loggers[name]["level"] for name in ("boto3", "botocore", "hvac", "urllib3")} == {"WARNING"}


def test_the_documents_name_every_kind_that_is_asked() -> None:
    section = (Path(__file__).resolve().parents[2] / "docs/discovery.md").read_text().split("\n## Secret sources\n")[1]
    for words in ("secretsmanager:DescribeSecret", 'path "kv/metadata/*"', "PartialObjectMetadata", "RBAC"):
        assert words in section
