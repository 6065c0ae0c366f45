"""What the explorer and the pages beside it must not say: wrong numbers, another question's answer, an error page."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from registry.catalog.models import Agent, SecretSource
from registry.core import clock
from registry.core.actors import Actor
from registry.trust import services
from registry.trust.chart import error_rate
from registry.trust.models import Connection, Grant
from registry.trust.queries import ask
from registry.trust.question import key_of
from tests import factories as make
from tests.trust.test_explorer import address, boxes, chain, estate, explore, kept_estate, lines, names, text

__all__ = ["chain", "estate", "kept_estate"]
pytestmark = pytest.mark.django_db


def key(estate: dict[str, Any], name: str, kind: str) -> str:
    return key_of((kind, estate[name].pk))


def sentence(page: str) -> str:
    found = re.search(r'class="sentence grow"[^>]*>([^<]*)', page)
    assert found
    return found[1].strip()


def observe(*rows: tuple[Any, Any, Any], errors: int = 0) -> None:
    now = clock.now()
    services.record_observations(
        actor=Actor.system("test"),
        rows=[
            services.Observed(
                agent_id=agent.pk, server_id=server.pk, system_id=system and system.pk, calls=40, errors=errors,
                period=clock.today(), first_used=now - timedelta(hours=2), last_used=now - timedelta(hours=1),
            )
            for agent, server, system in rows
        ],
    )  # fmt: skip


# --- What is not to be asked -----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["of", "of_was", "to", "sel", "open", "more", "fold", "team"])
def test_a_nul_byte_names_nothing(web: Any, estate: dict[str, Any], field: str) -> None:
    client = web(make.person())
    query: dict[str, str] = {"ask": "path", "of": "Chat bot", "to": "Ledger"} | {field: "\0"}
    for name in ("explore", "explore_svg", "explore_csv", "explore_json"):
        assert client.get(address(name, **query)).status_code == 400, name
    assert client.get(address("explore_options", of="a\0b")).status_code == 400


@pytest.mark.parametrize("name", ["hygiene", "combinations", "relationships", "request_grant", "request_connection"])
def test_a_nul_byte_breaks_no_page(web: Any, estate: dict[str, Any], name: str) -> None:
    client = web(make.person())
    for field in ("q", "server", "agent", "system", "cursor", "look", "on", "since", "near", "tool"):
        assert client.get(address(name, **{field: "\0"})).status_code == 400, field
    assert client.post(address("request_grant"), {"server": "\0", "agent": "\0", "reason": "\0"}).status_code == 400


def test_a_day_to_come_is_refused_beside_its_field_and_now_is_shown(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    tomorrow = (clock.today() + timedelta(days=1)).isoformat()
    response = explore(client, ask="reaches", of="Mail", on=tomorrow)
    page = text(response)
    assert response.status_code == 422
    assert 'aria-invalid="true"' in page
    assert "Choose today or a day in the past" in page
    assert "as of" not in page[page.index('class="answer"') :]
    assert "Chat bot" in names(page)
    assert client.get(address("explore_csv", on=tomorrow)).status_code == 400
    for name in ("hygiene", "combinations"):
        refused = client.get(address(name, on=tomorrow))
        assert refused.status_code == 422, name
        assert "Choose today or a day in the past" in text(refused), name


def test_before_the_records_begin_nothing_is_known(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    page = text(explore(client, on="0001-01-01"))
    assert sentence(page).startswith("Nothing was recorded before")
    assert "Nobody trusts anybody yet" not in page
    for name in ("hygiene", "combinations"):
        assert "Nothing was recorded before" in text(client.get(address(name, on="1999-12-31"))), name


def test_an_address_that_opens_what_is_not_there_still_answers(web: Any, estate: dict[str, Any]) -> None:
    hidden = make.system(name="Vault of wonders", confidential=True)
    client = web(make.person())
    for field in ("more", "fold"):
        for gone in (key_of(("system", hidden.pk)), "server:00000000-0000-7000-8000-000000000000"):
            for query in ({}, {"ask": "reaches", "of": "Mail"}):
                response = explore(client, **query, **{field: gone})
                page = text(response)
                assert response.status_code == 200, (field, gone)
                assert "1 thing that this address opens or folds is left out" in page
                assert "was not there on" not in page
                assert "Mail" in names(page)
                assert "Vault of wonders" not in page


# --- Numbers ---------------------------------------------------------------------------------------------


def test_the_sentence_says_what_panels_and_the_api_say_whatever_is_drawn(web: Any, chain: dict[str, Any]) -> None:
    person = make.person()
    client = web(person)
    counts = ask(make.acting(person)).reach(chain["bot"].pk).counts
    assert counts == {"systems": 3, "servers": 2}
    plain = sentence(text(explore(client, ask="reach", of="Chat bot")))
    assert plain == "Chat bot reaches 3 systems, through 2 servers."
    other = make.active_server(title="Unrelated")
    make.connection(server=other, system=chain["mail"])
    expanded = explore(client, ask="reach", of="Chat bot", more=key(chain, "mail", "system"))
    assert "Unrelated" in names(text(expanded))
    assert sentence(text(expanded)) == plain


def test_the_estate_counts_what_is_in_service_not_what_is_drawn(web: Any, estate: dict[str, Any]) -> None:
    person = make.person()
    make.active_server(title="Idle")
    make.agent(name="Idle agent")
    counts = ask(make.acting(person)).stats().counts
    assert (counts["agents"], counts["servers"], counts["systems"]) == (3, 3, 3)
    page = text(explore(web(person)))
    assert sentence(page) == "The whole estate: 3 agents, 3 servers, 3 systems."
    assert "Idle" not in names(page)


def test_filters_are_said_beside_the_answer(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), data="restricted"))
    assert sentence(page) == (
        "The whole estate: 2 agents, 2 servers, 3 systems. The filters leave 2 agents, 1 server, 1 system."
    )


def test_the_filters_count_the_same_whether_or_not_one_is_set(web: Any, estate: dict[str, Any]) -> None:
    services.suspend_relationship(
        actor=make.acting(make.person("security")), relationship=estate["mail_grant"], reason="It leaks."
    )
    client = web(make.person())

    def counted(**query: str) -> dict[str, int]:
        response = explore(client, **query)
        groups = {group.name: group for group in response.context["explorer"].facet_groups}
        return {choice.value: choice.count for choice in groups["status"].choices}

    assert counted() == {"active": 5, "suspended": 1, "requested": 0}
    assert counted(tier="critical") == counted()


def test_a_sighting_is_not_counted_as_reach(web: Any, estate: dict[str, Any]) -> None:
    observe((estate["forecast"], estate["mailer"], estate["mail"]))
    client = web(make.person())
    for basis in ("granted", "both"):
        page = text(explore(client, ask="reach", of="Forecast agent", basis=basis))
        assert sentence(page) == "Forecast agent reaches 2 systems, through 1 server."
    assert "observed without a grant" in page
    assert "0 tools" not in page
    table = text(explore(client, ask="reach", of="Forecast agent", basis="both", view="table"))
    assert "40 calls seen" in table


def test_without_observations_use_is_unknown_not_none(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    for query in ({}, {"ask": "reach", "of": "Chat bot"}, {"ask": "reaches", "of": "Mail"}):
        page = text(explore(client, basis="observed", **query))
        assert sentence(page) == "Use is unknown: no log source has reported anything yet."
        assert "Nobody trusts anybody yet" not in page
        assert "reaches 0" not in page
    assert "use is unknown: nothing was observed" in text(explore(client, basis="both"))
    observe((estate["bot"], estate["mailer"], estate["mail"]))
    seen = text(explore(client, ask="reach", of="Chat bot", basis="observed"))
    assert sentence(seen) == "Chat bot was seen to use 1 system, through 1 server."
    unseen = text(explore(client, ask="reach", of="Forecast agent", basis="observed"))
    assert "None of it was seen in use" in unseen


# --- Only what was asked ---------------------------------------------------------------------------------


def test_asked_about_an_agent_that_is_a_server_the_panel_speaks_of_the_agent(web: Any, chain: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="cut", of=f"agent:{chain['caller'].pk}"))
    inspector = page[page.index('id="inspector"') :]
    assert "Mailer as caller</a></h2>" in inspector
    impact = ask(Actor.system("test")).impact("agent", chain["caller"].pk)
    assert impact.counts != ask(Actor.system("test")).impact("server", chain["mailer"].pk).counts


def test_who_reaches_a_system_lists_no_use_of_other_systems(web: Any, estate: dict[str, Any]) -> None:
    elsewhere = make.system(name="Elsewhere")
    observe((estate["bot"], estate["mailer"], elsewhere))
    client = web(make.person())
    assert "Elsewhere" in names(text(explore(client, ask="around", of="mailer", basis="both")))
    assert "Elsewhere" not in names(text(explore(client, ask="reaches", of="mail", basis="both")))


def test_the_past_goes_by_the_names_of_then(web: Any, estate: dict[str, Any]) -> None:
    yesterday = (clock.today() - timedelta(days=1)).isoformat()
    with clock.at(clock.now()):
        type(estate["ledger"]).objects.filter(pk=estate["ledger"].pk).update(name="Main book")
    client = web(make.person())
    assert "Main book" in names(text(explore(client, ask="reaches", of="Main book")))
    then = names(text(explore(client, ask="reaches", of=f"system:{estate['ledger'].pk}", on=yesterday)))
    assert "Main book" not in then


def test_the_reach_of_a_server_leaves_its_callers_out(web: Any, chain: dict[str, Any]) -> None:
    observe((chain["forecast"], chain["mailer"], None))
    client = web(make.person())
    for basis in ("granted", "both"):
        query = {"ask": "reach", "of": "Mailer", "basis": basis, "status": ["active", "suspended", "requested"]}
        page = text(explore(client, **query))
        assert names(page) == {"Mailer", "Mail", "Warehouse", "Ledger", "Archive"}, basis
        rows = b"".join(client.get(address("explore_csv", **query)).streaming_content).decode()
        assert "Warehouse" in rows
        assert "Chat bot" not in rows
        graph = json.loads(client.get(address("explore_json", **query)).content)["graph"]["nodes"]
        assert not [each for each in graph if each.startswith("agent:")]
    assert "Chat bot" in names(text(explore(client, ask="around", of="Mailer")))


def test_cutting_a_secret_strikes_the_secret_not_the_server(web: Any, estate: dict[str, Any]) -> None:
    source = estate["warehouse"].secret_sources.first()
    SecretSource.objects.filter(server=estate["mailer"]).update(kind=source.kind, reference=source.reference)
    page = text(explore(web(make.person()), ask="cut", of=key_of(("secret_source", source.pk))))
    assert 'class="node cut' not in page
    assert page.count('class="drawer shared lost"') == 2
    assert {"Forecast agent", "Chat bot"} <= names(page)
    assert any(words.startswith("Forecast agent, loses 2 systems") for words in boxes(page))
    lost = re.findall(r'<path class="e lost[^"]*"[^>]*><title>([^:<]*):', page)
    assert {words for words in lost if "→" in words} >= {"Warehouse → Ledger", "Warehouse → Archive", "Mailer → Mail"}
    assert not any(words.startswith(("Forecast agent", "Chat bot")) for words in lost)


def test_what_was_expanded_is_not_cut(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="cut", of="Warehouse", more=key(estate, "bot", "agent")))
    assert page.count('class="node cut') == 1


def test_a_group_says_how_many_of_it_lose(web: Any, estate: dict[str, Any]) -> None:
    team = make.team(name="Data Platform")
    for number in range(3):
        make.grant(agent=make.agent(name=f"Planner {number}", team=team), server=estate["warehouse"])
    page = text(explore(web(make.person()), ask="cut", of="Warehouse", group="team"))
    assert any("Data Platform, 3 lose a system" in words for words in boxes(page))


def test_why_things_are_grouped(web: Any, estate: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.trust.explorer.DRAWN", 3)
    client = web(make.person())
    never = text(explore(client, group="none"))
    assert "more than 3 boxes cannot be read" in never
    assert "too much to draw" not in never
    for number in range(2):
        make.grant(agent=make.agent(name=f"P {number}", team=estate["bot"].team), server=estate["mailer"])
    assert "grouped by kind" in text(explore(client, group="kind"))


# --- Use -------------------------------------------------------------------------------------------------


def test_error_rates() -> None:
    assert [error_rate(*each) for each in ((None, None), (0, 0), (40, 0), (40, 2), (100_000, 1))] == [
        "", "", "0 %", "5 %", "under 0.1 %",
    ]  # fmt: skip


def test_a_relationship_says_how_it_is_used(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    grant, connection = estate["bot_grant"], estate["writes"]
    assert "Unknown: no activity was handed in." in text(client.get(address("grant", grant.pk)))
    observe((estate["forecast"], estate["warehouse"], None), errors=2)
    used = text(client.get(address("grant", estate["grant"].pk)))
    assert "5 %" in used
    assert "Never seen in use" in text(client.get(address("grant", grant.pk)))
    assert "names a system this server used" in text(client.get(address("connection", connection.pk)))
    observe((estate["forecast"], estate["warehouse"], estate["archive"]))
    assert "Never seen in use" in text(client.get(address("connection", connection.pk)))
    table = text(explore(client, basis="both", view="table"))
    assert '<td class="r num">2.5 %</td>' in table


def test_connections_of_servers_whose_systems_nobody_observes_are_not_called_unused(
    web: Any, estate: dict[str, Any]
) -> None:
    long_ago = clock.now() - timedelta(days=100)
    for model in (Grant, Connection):
        model.objects.update(activated_at=long_ago)
    rows = [
        services.Observed(
            agent_id=estate["bot"].pk, server_id=estate["mailer"].pk, system_id=estate["mail"].pk, calls=1,
            period=long_ago.date(), first_used=long_ago, last_used=long_ago,
        )
    ]  # fmt: skip
    services.record_observations(actor=Actor.system("test"), rows=rows)
    page = text(web(make.person()).get(address("hygiene", look="unused")))
    assert "Mailer → Mail" in page
    assert "Warehouse → Ledger" not in page


# --- Hygiene ---------------------------------------------------------------------------------------------


def test_hygiene_says_how_many_there_are(web: Any, estate: dict[str, Any]) -> None:
    source = estate["warehouse"].secret_sources.first()
    SecretSource.objects.filter(server=estate["mailer"]).update(kind=source.kind, reference=source.reference)
    page = text(web(make.person()).get(address("hygiene")))
    assert "1 shared secret" in page
    assert "2 servers use one" in page


def test_crossings_are_filtered_by_environment(web: Any, estate: dict[str, Any]) -> None:
    make.grant(agent=make.agent(name="Test rig", environment="test"), server=estate["warehouse"])
    lab = make.system(name="Lab", environment="staging")
    make.connection(server=estate["mailer"], system=lab)
    client = web(make.person())
    everything = text(client.get(address("hygiene", look="environments")))
    assert {"Test rig", "Lab"} <= set(re.findall(r'<td class="wrap"><a href="[^"]*">([^<]*)</a>', everything))
    from_test = text(client.get(address("hygiene", look="environments", near="test", far="production")))
    rows = from_test[from_test.index("<tbody") :]
    assert "Test rig" in rows
    assert "Lab" not in rows
    assert "2 ways across" in from_test
    assert "2 from outside into production" in from_test
    none = text(client.get(address("hygiene", look="environments", near="development")))
    assert "Nothing found" in none
    assert client.get(address("hygiene", look="environments", near="moon")).status_code == 400


def test_sightings_have_a_page(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    assert "Use is unknown" in text(client.get(address("hygiene", look="sightings")))
    observe((estate["forecast"], estate["mailer"], None), (estate["bot"], estate["mailer"], estate["mail"]))
    page = text(client.get(address("hygiene", look="sightings")))
    rows = page[page.index("<tbody") :]
    assert "Forecast agent" in rows
    assert "Chat bot" not in rows
    assert "1 agent on a server" in page
    ghost = make.agent(name="Ghost agent", confidential=True)
    observe((ghost, estate["mailer"], None))
    hidden = text(client.get(address("hygiene", look="sightings")))
    assert "Ghost agent" not in hidden
    assert "and 1 you may not see" in hidden


def test_what_changed_between_two_days(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    page = text(client.get(address("hygiene", look="changes")))
    assert "Forecast agent → Warehouse" in page
    assert "in force" in page[page.index("<tbody") :]
    assert "appeared" in page
    wrong = client.get(address("hygiene", look="changes", since=clock.today().isoformat()))
    assert wrong.status_code == 422
    assert "Choose an earlier day than the other." in text(wrong)


# --- Pages -----------------------------------------------------------------------------------------------


def test_what_breaks_stands_on_the_pages_of_things(web: Any, estate: dict[str, Any]) -> None:
    issuer = make.issuer(name="Acme identity")
    Agent.objects.filter(pk=estate["forecast"].pk).update(issuer=issuer)
    client = web(make.person())
    for url, kind, pk in (
        (reverse("catalog:server", args=[estate["warehouse"].pk]), "server", estate["warehouse"].pk),
        (reverse("catalog:agent", args=[estate["forecast"].pk]), "agent", estate["forecast"].pk),
        (reverse("catalog:system", args=[estate["ledger"].pk]), "system", estate["ledger"].pk),
        (reverse("catalog:issuer", args=[issuer.pk]), "issuer", issuer.pk),
        (reverse("discovery:secret_source", args=[make.source_of(estate["warehouse"]).pk]), "secret_source",
         make.source_of(estate["warehouse"]).pk),
    ):  # fmt: skip
        page = text(client.get(url))
        for panel in ("radius", "impact"):
            assert address(f"{kind}_{panel}", pk) in page, (url, panel)
    source = estate["warehouse"].secret_sources.first()
    sources = text(client.get(address("server_sources", estate["warehouse"].pk)))
    for panel in ("secret_source_radius", "secret_source_impact"):
        assert address(panel, source.pk) in sources
        assert client.get(address(panel, source.pk)).status_code == 200


def test_an_issuer_has_a_page_and_only_those_who_manage_issuers_retire_it(web: Any) -> None:
    issuer = make.issuer(name="Acme identity")
    url, retire = reverse("catalog:issuer", args=[issuer.pk]), reverse("catalog:issuer_retire", args=[issuer.pk])
    page = text(web(make.person()).get(url))
    assert "Acme identity" in page
    assert retire not in page
    assert retire in text(web(make.person("security")).get(url))
    assert url in text(web(make.person()).get(reverse("catalog:issuers")))
    assert web(make.outsider()).get(url).status_code == 403
    assert Client().get(url).status_code == 302


def test_the_secret_of_a_hidden_server_has_no_panel(web: Any) -> None:
    hidden = make.active_server(title="Ghost", confidential=True)
    for panel in ("secret_source_radius", "secret_source_impact"):
        assert web(make.person()).get(address(panel, make.source_of(hidden).pk)).status_code == 404


def test_the_form_of_a_combination_says_what_holds(web: Any) -> None:
    page = text(web(make.person("security")).get(address("combination_new")))
    assert "of a deed or a place either half is enough" in page
    combination = services.create_combination(
        actor=make.acting(make.person("security")), name="X", explanation="Y",
        legs=[
            {"label": "Writes", "tool_classes": ["write"], "access": ["write"], "data_classes": ["restricted"]},
            {"label": "Mails", "system_kinds": ["messaging"]},
        ],
    )  # fmt: skip
    shown = text(web(make.person()).get(address("combination", combination.pk)))
    legs = re.sub(r"\s+", " ", shown[shown.index('class="legs"') :][:400])
    assert re.search(r"tool: [^<]* or access: [^<]* and data: restricted", legs)
    assert combination.name in text(web(make.person()).get(address("combinations")))


def test_lines_of_what_was_asked_have_words(web: Any, estate: dict[str, Any]) -> None:
    assert not any("0 tools" in words for words in lines(text(explore(web(make.person())))))
