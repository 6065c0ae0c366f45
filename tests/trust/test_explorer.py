"""The explorer without scripts: questions, what they answer for whom, the table twin and the files."""

import csv
import io
import re
from copy import deepcopy
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from django.http import QueryDict
from django.urls import reverse

from registry.catalog.models import Agent, SecretSource
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Malformed
from registry.trust import services
from registry.trust.models import Combination, Grant
from registry.trust.question import Question, key_of
from tests import factories as make

pytestmark = pytest.mark.django_db


def address(name: str, *args: Any, **query: Any) -> str:
    url = reverse(f"trust:{name}", args=args)
    return f"{url}?{urlencode(query, doseq=True)}" if query else url


def text(response: Any) -> str:
    return unescape(response.content.decode())


def explore(client: Any, **query: Any) -> Any:
    return client.get(address("explore", **query))


def boxes(page: str) -> list[str]:
    """The words of every box, in reading order."""
    return re.findall(r'class="box"[^>]*><title>([^<]*)</title>', page)


def names(page: str) -> set[str]:
    return {words.split(",")[0] for words in boxes(page)}


def lines(page: str) -> list[str]:
    return re.findall(r'<path class="e[^>]*><title>([^<]*)</title>', page)


@pytest.fixture(scope="module")
def kept_estate(kept: None) -> dict[str, Any]:
    """Forecast agent → Warehouse → Ledger (written, restricted) and Archive; Chat bot → Warehouse and Mailer → Mail."""
    warehouse, mailer = make.active_server(title="Warehouse"), make.active_server(title="Mailer")
    ledger = make.system(name="Ledger", data_class="restricted")
    archive, mail = make.system(name="Archive"), make.system(name="Mail", kind="messaging")
    forecast, bot = make.agent(name="Forecast agent"), make.agent(name="Chat bot")
    return {
        "warehouse": warehouse, "mailer": mailer, "ledger": ledger, "archive": archive, "mail": mail,
        "forecast": forecast, "bot": bot,
        "grant": make.grant(agent=forecast, server=warehouse),
        "bot_grant": make.grant(agent=bot, server=warehouse),
        "mail_grant": make.grant(agent=bot, server=mailer),
        "writes": make.connection(server=warehouse, system=ledger, access="write"),
        "reads": make.connection(server=warehouse, system=archive),
        "mails": make.connection(server=mailer, system=mail, access="write"),
    }  # fmt: skip


@pytest.fixture
def estate(kept_estate: dict[str, Any], db: Any) -> dict[str, Any]:
    return deepcopy(kept_estate)


@pytest.fixture
def chain(estate: dict[str, Any]) -> dict[str, Any]:
    """The Mailer calls the Warehouse as an agent of its own."""
    caller = make.agent(name="Mailer as caller", server=estate["mailer"], kind=Agent.Kind.SERVER)
    return estate | {"caller": caller, "chained": make.grant(agent=caller, server=estate["warehouse"])}


# --- Who may ask -----------------------------------------------------------------------------------------


def test_strangers_sign_in_first_and_outsiders_see_nothing(web: Any) -> None:
    for name in ("explore", "explore_options", "explore_svg", "explore_csv", "explore_json", "combinations", "hygiene"):
        assert "sign-in" in web().get(address(name))["Location"], name
        assert web(make.outsider()).get(address(name)).status_code == 403, name


def test_the_navigation_leads_there(web: Any) -> None:
    page = text(web(make.person()).get("/"))
    assert re.search(rf'<a href="{address("explore")}"[^>]*data-keys="g t"', page)


# --- Asking ----------------------------------------------------------------------------------------------


def test_without_a_question_everything_is_shown(web: Any, estate: dict[str, Any]) -> None:
    response = explore(web(make.person()))
    page = text(response)
    assert names(page) == {"Forecast agent", "Chat bot", "Warehouse", "Mailer", "Ledger", "Archive", "Mail"}
    assert len(lines(page)) == 6
    assert "2 agents, 2 servers, 3 systems" in page
    assert "Who reaches Ledger?" in page  # an example, about the most sensitive thing there is
    assert response["Vary"].count("HX-Request") == 1


def test_nobody_trusts_anybody_yet(web: Any) -> None:
    page = text(explore(web(make.person())))
    assert "Nobody trusts anybody yet" in page
    assert address("request_grant") in page


def test_who_reaches_a_system(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="reaches", of="mail"))
    assert names(page) == {"Chat bot", "Mailer", "Mail"}
    assert "1 agent reaches Mail, through 1 server." in page


def test_what_an_agent_reaches_through_servers_that_call_servers(web: Any, chain: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="reach", of="Chat bot"))
    assert names(page) == {"Chat bot", "Warehouse", "Mailer", "Ledger", "Archive", "Mail"}
    assert any(words.startswith("Mailer → Warehouse: ") for words in lines(page))
    assert "Mailer as caller" not in names(page)  # one box: the server it is
    assert "called by servers" in page  # a column of its own


def test_what_breaks_without_a_server(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="cut", of="Warehouse"))
    assert "Without Warehouse, 2 of 2 agents no longer reach something." in page
    assert next(words for words in boxes(page) if words.startswith("Ledger")).count("no server reaches it then") == 1
    assert "loses 2 systems" in page
    assert 'class="node cut' in page


def test_what_breaks_without_one_grant(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="cut", of=key_of(("grant", estate["grant"].pk))))
    assert "Without Forecast agent → Warehouse, 1 of 1 agent no longer reaches something." in page
    assert len(re.findall(r'<path class="e lost" data-e', page)) == 1


def test_what_goes_with_a_system_that_is_cut(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), ask="cut", of="Mail"))
    assert re.findall(r'<path class="e lost[^>]*><title>([^:]*):', page) == ["Mailer → Mail"]


def test_the_paths_between_two(web: Any, chain: dict[str, Any]) -> None:
    client = web(make.person())
    page = text(explore(client, ask="path", of="Chat bot", to="Ledger"))
    assert "2 paths lead from Chat bot to Ledger." in page
    assert "Archive" not in names(page)
    chosen = text(explore(client, ask="path", of="Chat bot", to="Ledger", path=1))
    assert 'class="e w on"' in chosen
    assert "dim" in chosen
    nothing = text(explore(client, ask="path", of="Forecast agent", to="Mail"))
    assert "No path leads from Forecast agent to Mail." in nothing
    assert "Not connected" in nothing


def test_a_line_says_what_it_is_and_a_red_one_has_a_word(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person())))
    assert any(words.startswith("Warehouse → Ledger: read and write, in force") for words in lines(page))
    assert re.search(r'<text class="lbl w"[^>]*>write</text>', page)
    assert "written to by a server" in next(words for words in boxes(page) if words.startswith("Ledger"))


def test_suspended_ones_are_shown_dashed_when_asked_for(web: Any, estate: dict[str, Any]) -> None:
    security = make.acting(make.person("security"))
    services.suspend_relationship(actor=security, relationship=estate["mail_grant"], reason="Noise at night.")
    client = web(make.person())
    assert "Mail" not in names(text(explore(client, ask="reach", of="Chat bot")))
    page = text(explore(client, ask="around", of="Mailer", status=["active", "suspended"]))
    assert any("suspended" in words for words in lines(page))
    assert 'class="e off"' in page


def test_a_server_shows_its_secret_source_and_who_shares_it(web: Any, estate: dict[str, Any]) -> None:
    source = estate["warehouse"].secret_sources.first()
    SecretSource.objects.filter(server=estate["mailer"]).update(kind=source.kind, reference=source.reference)
    page = text(explore(web(make.person())))
    assert f"Secret source {source.kind}:{source.reference}, used by 2 servers" in page
    broken = text(explore(web(make.person()), ask="cut", of=f"{source.kind}:{source.reference}"))
    assert names(broken) >= {"Ledger", "Archive", "Mail"}


def test_observed_without_a_grant_is_drawn_as_a_sighting_never_as_a_grant(web: Any, estate: dict[str, Any]) -> None:
    now = clock.now()
    use = {"period": clock.today(), "first_used": now - timedelta(hours=2), "last_used": now - timedelta(hours=1)}
    forecast, warehouse, mailer = estate["forecast"].pk, estate["warehouse"].pk, estate["mailer"].pk
    services.record_observations(
        actor=Actor.system("test"),
        rows=[
            services.Observed(agent_id=forecast, server_id=warehouse, calls=7, **use),
            services.Observed(agent_id=forecast, server_id=mailer, calls=3, **use),
        ],
    )
    client = web(make.person())
    granted = text(explore(client))
    assert not any(words.startswith("Forecast agent → Mailer") for words in lines(granted))
    both = text(explore(client, basis="both"))
    assert any(words.startswith("Forecast agent → Mailer") and "not granted" in words for words in lines(both))
    assert 'class="e seen' in both
    assert "observed without a grant" in both
    assert "Forecast agent" not in names(text(explore(client, ask="reaches", of="Mail", basis="granted")))
    table = text(explore(client, basis="both", view="table"))
    assert "Last used" in table
    assert "observed, not granted" in table


# --- Naming ----------------------------------------------------------------------------------------------


def test_what_does_not_exist_and_what_may_not_be_seen_read_the_same(web: Any, estate: dict[str, Any]) -> None:
    hidden = make.system(name="Secret ledger", confidential=True)
    client = web(make.person())
    for words in ("Nobody knows this", "Secret ledger", key_of(("system", hidden.pk))):
        page = text(explore(client, ask="reaches", of=words))
        assert f"Nothing that you may see is called “{words}”" in page
        assert "Secret ledger" not in page.replace(words, "")
    assert "is called" not in text(explore(web(hidden.owner), ask="reaches", of="Secret ledger"))


def test_of_several_one_is_chosen(web: Any, estate: dict[str, Any]) -> None:
    other = make.system(name="Ledger", environment="test")
    client = web(make.person())
    page = text(explore(client, ask="reaches", of="Ledger"))
    assert "Which one do you mean?" in page
    assert f"of={key_of(('system', other.pk))}" in page
    # The field shows a name; what it was the name of comes along, so that asking again does not ask which one.
    again = explore(client, ask="reaches", of="Ledger", of_was=key_of(("system", other.pk)))
    assert again.context["explorer"].subject.id == other.pk


def test_part_of_a_name_is_enough(web: Any, estate: dict[str, Any]) -> None:
    assert "Chat bot" in names(text(explore(web(make.person()), ask="reach", of="chat")))


def test_a_question_without_a_subject_asks_for_one(web: Any, estate: dict[str, Any]) -> None:
    assert "What is the question about?" in text(explore(web(make.person()), ask="reaches"))


def test_suggestions_fit_the_question_and_the_reader(web: Any, estate: dict[str, Any]) -> None:
    make.system(name="Ledger of secrets", confidential=True)
    client = web(make.person())
    offered = text(client.get(address("explore_options", ask="reaches", of="led")))
    assert 'value="Ledger"' in offered
    assert "secrets" not in offered
    assert "Forecast agent" not in text(client.get(address("explore_options", ask="reaches", of="fore")))
    assert "Forecast agent" in text(client.get(address("explore_options", ask="path", of="fore")))
    assert "Ledger" in text(client.get(address("explore_options", ask="path", to="led")))


# --- What may not be seen --------------------------------------------------------------------------------


def test_a_hidden_system_is_counted_and_never_named(web: Any, estate: dict[str, Any]) -> None:
    secret = make.system(name="Vault of wonders", confidential=True)
    make.connection(server=estate["warehouse"], system=secret, requested_by=secret.owner)
    member = web(make.person())
    for query in ({}, {"ask": "reach", "of": "Forecast agent"}, {"ask": "cut", "of": "Warehouse"}, {"view": "table"}):
        page = text(explore(member, **query))
        assert "Vault of wonders" not in page, query
        assert str(secret.pk) not in page, query
        assert "1 system you may not see" in page, query
    assert "Vault of wonders" in text(explore(web(secret.owner)))
    for name in ("explore_svg", "explore_json", "explore_csv"):
        response = member.get(address(name))
        body = b"".join(response) if response.streaming else response.content
        assert b"wonders" not in body, name


def test_a_path_through_a_hidden_server_stays_a_path(web: Any, estate: dict[str, Any]) -> None:
    owner = make.person()
    hidden = make.active_server(title="Server of wonders", owner=owner, confidential=True)
    make.grant(agent=estate["bot"], server=hidden, requested_by=owner)
    make.connection(server=hidden, system=estate["archive"], requested_by=owner)
    member = web(make.person())
    page = text(explore(member, ask="path", of="Chat bot", to="Archive"))
    assert "Server of wonders" not in page
    assert str(hidden.pk) not in page
    assert "a server you may not see" in page
    assert "something you may not see" not in page
    assert "Shadow server" in text(explore(web(owner), ask="path", of="Chat bot", to="Archive"))


# --- Filters, groups, look -------------------------------------------------------------------------------


def test_filters_judge_servers_and_systems(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    assert names(text(explore(client, data="restricted"))) == {"Forecast agent", "Chat bot", "Warehouse", "Ledger"}
    page = text(explore(client, data="public"))
    assert "The filters hide everything" in page
    assert "The filters hide all of it." in page
    assert f'href="{address("explore")}"' in page
    assert names(text(explore(client, certified="yes"))) == set()
    assert len(names(text(explore(client, env="production")))) == 7


@pytest.mark.parametrize(
    "query",
    [{"ask": "everything"}, {"data": "top"}, {"basis": "x"}, {"on": "soon"}, {"path": "x"}, {"nonsense": "1"}],
    ids=str,
)
def test_what_means_nothing_is_refused(web: Any, query: dict[str, str]) -> None:
    assert explore(web(make.person()), **query).status_code == 400


def test_too_much_to_draw_is_grouped_and_a_group_opens(web: Any, estate: dict[str, Any]) -> None:
    data = make.team(name="Data Platform")
    for number in range(4):
        make.grant(agent=make.agent(name=f"Planner {number}", team=data), server=estate["warehouse"])
    client = web(make.person())
    page = text(explore(client, group="team"))
    assert any(words.startswith("Data Platform, 4 agents") for words in boxes(page))
    assert "Planner 1" not in page
    opened = text(explore(client, group="team", open=f"group:agent:team:{data.pk}"))
    assert {f"Planner {number}" for number in range(4)} <= names(opened)
    assert "Opened: Data Platform" in opened


def test_expanding_and_folding_are_links_that_keep_the_question(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    page = text(explore(client, ask="reaches", of="Mail", colour="certification"))
    assert "Warehouse" not in names(page)
    link = re.search(r'<a href="([^"]*)" class="more"[^>]*><title>Expand Chat bot', page)
    assert link
    kept = parse_qs(urlsplit(link[1]).query)
    assert (kept["ask"], kept["colour"]) == (["reaches"], ["certification"])
    expanded = text(client.get(link[1]))
    assert "Warehouse" in names(expanded)
    assert "Expanded: Chat bot" in expanded
    folded = text(explore(client, ask="reach", of="Chat bot", fold=key_of(("server", estate["warehouse"].pk))))
    assert "Ledger" not in names(folded)
    assert "Warehouse" in names(folded)


def test_certification_is_said_by_an_icon_as_well_as_by_colour(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), colour="certification"))
    assert "#shield-off" in page
    assert "c-no" in page
    assert all("certified" in words for words in boxes(page) if words.startswith("Warehouse"))


# --- What is selected ------------------------------------------------------------------------------------


def test_choosing_a_box_shows_what_hangs_on_it_and_choosing_it_again_opens_its_page(
    web: Any, estate: dict[str, Any]
) -> None:
    client = web(make.person())
    key = key_of(("server", estate["warehouse"].pk))
    page = text(explore(client, sel=key))
    panel = page[page.index('id="inspector"') :]
    assert "If it is compromised" in panel
    assert "If it is cut" in panel
    assert "2</b> <span>systems reachable, up to restricted" in panel
    assert re.search(r'>Ledger</a><span class="xs end tone-danger">read and write', panel)
    box = re.search(rf'<a href="([^"]*)" class="box" id="n-{key}"', page)
    assert box
    assert box[1] == reverse("catalog:server", args=[estate["warehouse"].pk])


def test_choosing_a_line_shows_the_relationship(web: Any, estate: dict[str, Any]) -> None:
    page = text(explore(web(make.person()), sel=key_of(("connection", estate["writes"].pk))))
    panel = page[page.index('id="inspector"') :]
    assert "Warehouse → Ledger" in panel
    assert "read and write" in panel
    assert address("connection", estate["writes"].pk) in panel


def test_what_may_not_be_seen_cannot_be_selected(web: Any, estate: dict[str, Any]) -> None:
    secret = make.system(name="Vault of wonders", confidential=True)
    page = text(explore(web(make.person()), sel=key_of(("system", secret.pk))))
    assert "Vault of wonders" not in page
    assert "How to read it" in page


# --- As of -----------------------------------------------------------------------------------------------


def test_as_of_a_day_before_there_was_nothing(web: Any, estate: dict[str, Any]) -> None:
    then = clock.today() - timedelta(days=40)
    page = text(explore(web(make.person()), on=then.isoformat()))
    assert names(page) == set()
    assert "as of" in page


def test_what_was_not_there_on_that_day_is_said_so(web: Any, estate: dict[str, Any]) -> None:
    then = (clock.today() - timedelta(days=40)).isoformat()
    client = web(make.person())
    for query in (
        {"ask": "reaches", "of": "Ledger"},
        {"ask": "cut", "of": "Warehouse"},
        {"ask": "path", "of": "Chat bot", "to": "Ledger"},
    ):
        response = explore(client, on=then, **query)
        assert response.status_code == 200, query
        assert "was not there on" in text(response), query
        assert "Ask about now" in text(response)


def test_as_of_today_is_now() -> None:
    assert Question(on=clock.today()).as_of is None
    yesterday = Question(on=clock.today() - timedelta(days=1)).as_of
    assert yesterday is not None
    assert yesterday <= clock.now()


# --- The table twin and the files ------------------------------------------------------------------------


def test_the_table_says_what_the_picture_says(web: Any, chain: dict[str, Any]) -> None:
    client = web(make.person())
    picture = explore(client).context["explorer"].chart
    page = text(explore(client, view="table"))
    assert "<svg id=" not in page
    assert page.count("<tr>") - 1 == len(picture.lines)
    for row in picture.rows:
        assert row.source.name in page
        assert row.what in page
    assert "writes confidential data" in page


def test_csv_holds_every_line(web: Any, estate: dict[str, Any]) -> None:
    response = web(make.person()).get(address("explore_csv", group="kind"))
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode("utf-8-sig"))))
    assert len(rows) == 6
    written = next(row for row in rows if row["to"] == "Ledger")
    assert (written["from"], written["what"], written["writes_confidential"]) == ("Warehouse", "read and write", "True")
    assert all(row["data_version"] for row in rows)
    assert response["Content-Disposition"].endswith('.csv"')


def test_a_file_never_answers_another_question(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    for name in ("explore_svg", "explore_csv", "explore_json"):
        assert client.get(address(name, ask="reaches", of="nobody knows this")).status_code == 404, name
        assert client.get(address(name, ask="reaches")).status_code == 404, name


def test_csv_cells_are_no_formulas(web: Any) -> None:
    make.grant(agent=make.agent(name="=cmd()"))
    body = b"".join(web(make.person()).get(address("explore_csv"))).decode()
    assert "'=cmd()" in body


def test_json_is_a_graph_with_its_version(web: Any, estate: dict[str, Any]) -> None:
    graph = web(make.person()).get(address("explore_json", ask="reaches", of="Ledger")).json()["graph"]
    assert graph["metadata"]["data_version"]
    assert {node["label"] for node in graph["nodes"].values()} == {"Forecast agent", "Chat bot", "Warehouse", "Ledger"}
    ends = {(edge["source"], edge["target"]) for edge in graph["edges"]}
    assert all(source in graph["nodes"] and target in graph["nodes"] for source, target in ends)


def test_the_picture_as_a_file_stands_on_its_own(web: Any, estate: dict[str, Any]) -> None:
    make.grant(agent=make.agent(name="<b>bold</b> & co"), server=estate["mailer"])
    response = web(make.person()).get(address("explore_svg"))
    assert response["Content-Type"] == "image/svg+xml"
    root = ElementTree.fromstring(response.content)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    symbols = {each.get("id") for each in root.iter(f"{space}symbol")}
    used = {each.get("href", "").lstrip("#") for each in root.iter(f"{space}use")}
    assert used <= symbols
    assert "data_version" in response.content.decode()
    assert not list(root.iter(f"{space}a"))


# --- htmx, cost ------------------------------------------------------------------------------------------


def test_htmx_gets_the_part_that_answers_and_the_shareable_address(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    response = client.get(address("explore", ask="reaches", of="mail", basis="granted"), HTTP_HX_REQUEST="true")
    assert "<html" not in text(response)
    assert text(response).lstrip().startswith('<div id="explorer"')
    shared = urlsplit(response["HX-Push-Url"])
    assert parse_qs(shared.query) == {"ask": ["reaches"], "of": [key_of(("system", estate["mail"].pk))]}
    assert names(text(client.get(response["HX-Push-Url"]))) == names(text(response))


def test_the_page_costs_the_same_for_few_and_many(
    web: Any, estate: dict[str, Any], django_assert_max_num_queries: Any
) -> None:
    client = web(make.person())
    explore(client)
    for number in range(8):
        make.grant(agent=make.agent(name=f"Planner {number}"), server=estate["warehouse"])
        make.connection(server=estate["mailer"], system=make.system(name=f"Shelf {number}"))
    explore(client)
    key = key_of(("server", estate["warehouse"].pk))
    with django_assert_max_num_queries(26):
        page = text(explore(client, sel=key))
    assert "Planner 7" in names(page)


# --- The question as an address --------------------------------------------------------------------------


def test_an_address_is_read_back_as_it_was_written() -> None:
    asked = Question(
        ask="path", of="agent:1", to="Ledger & co", on=clock.today() - timedelta(days=3), basis="both",
        tiers=("high", "low"), data=("restricted",), environments=("test",), teams=("t",), statuses=("suspended",),
        certified="no", group="kind", opened=("group:a", "group:b"), expanded=("x",), folded=("y",), selected="z",
        path=2, colour="certification", table=True,
    )  # fmt: skip
    assert Question.read(QueryDict(asked.query())) == asked
    assert Question().query() == ""


def test_an_address_does_not_grow_without_end() -> None:
    asked = Question()
    for number in range(200):
        asked = asked.expanding(f"server:{number}").opening(f"group:{number}")
    assert len(asked.expanded) == len(asked.opened) == 40
    assert asked.expanded[-1] == "server:199"


def test_folding_undoes_expanding() -> None:
    asked = Question().expanding("a").folding("a")
    assert (asked.expanded, asked.folded) == ((), ("a",))
    assert asked.closing("a") == Question()
    with pytest.raises(Malformed):
        Question.read(QueryDict("group=never-ever"))


# --- Toxic combinations ----------------------------------------------------------------------------------

LEGS = [
    {"label": "Reads what is restricted", "data_classes": ["restricted"]},
    {"label": "Writes mail", "system_kinds": ["messaging"], "access": ["write", "admin"]},
]


@pytest.fixture
def leak(estate: dict[str, Any]) -> Combination:
    return services.create_combination(
        actor=make.acting(make.person("security")), name="Leak by mail", explanation="It mails secrets.", legs=LEGS
    )


def test_combinations_name_who_has_them_and_through_what(web: Any, estate: dict[str, Any], leak: Combination) -> None:
    client = web(make.person())
    page = text(client.get(address("combinations")))
    card = page[page.index("Leak by mail") :]
    assert "Chat bot" in card
    assert "Forecast agent" not in card[: card.index("</section>")]
    assert address("combination_new") not in page
    whole = text(client.get(address("combination", leak.pk)))
    assert "Chat bot" in whole
    assert re.search(r"Writes mail</dt><dd>.*?Mailer.*?Mail", whole, re.S)


def test_a_hidden_agent_with_a_combination_is_counted(web: Any, estate: dict[str, Any], leak: Combination) -> None:
    owner = make.person()
    ghost = make.agent(name="Ghost agent", owner=owner, confidential=True)
    for server in (estate["warehouse"], estate["mailer"]):
        make.grant(agent=ghost, server=server, requested_by=owner)
    page = text(web(make.person()).get(address("combination", leak.pk)))
    assert "Ghost agent" not in page
    assert "1 agent you may not see" in page
    assert "Ghost agent" in text(web(owner).get(address("combination", leak.pk)))


def test_security_adds_changes_and_retires_a_combination(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person("security"))
    form = {
        "name": "Leak by mail",
        "explanation": "It mails secrets.",
        "legs.0.label": "Reads what is restricted",
        "legs.0.data_classes": ["restricted"],
        "legs.2.label": "Writes mail",  # a leg left empty in between does not count
        "legs.2.system_kinds": ["messaging"],
    }
    made = client.post(address("combination_new"), form)
    combination = Combination.objects.get(name="Leak by mail")
    assert made["Location"] == address("combination", combination.pk)
    assert [leg["label"] for leg in combination.legs] == ["Reads what is restricted", "Writes mail"]
    page = text(client.get(address("combination_edit", combination.pk)))
    assert 'value="Writes mail"' in page
    changed = form | {"version": combination.etag, "explanation": "It mails secrets to anybody."}
    client.post(address("combination_edit", combination.pk), changed)
    combination.refresh_from_db()
    assert combination.explanation.endswith("anybody.")
    client.post(address("combination_retire", combination.pk), {"version": combination.etag, "reason": "Too broad."})
    combination.refresh_from_db()
    assert combination.retired_at
    assert "Leak by mail" not in text(client.get(address("combinations")))


def test_what_is_wrong_with_a_leg_stands_beside_it(web: Any) -> None:
    client = web(make.person("security"))
    form = {"name": "X", "explanation": "Y", "legs.1.label": "First", "legs.1.access": ["write"], "legs.3.label": "All"}
    response = client.post(address("combination_new"), form)
    assert response.status_code == 422
    assert "legs.3.label" in response.context["form"].errors
    assert not Combination.objects.filter(name="X").exists()


def test_only_security_changes_the_list(web: Any, leak: Combination) -> None:
    for role in ("reviewer", "auditor", "administrator"):
        client = web(make.person(role))
        for url in (
            address("combination_new"),
            address("combination_edit", leak.pk),
            address("combination_retire", leak.pk),
        ):
            assert client.get(url).status_code == 403, (role, url)
            assert client.post(url, {"reason": "x"}).status_code == 403, (role, url)


# --- Hygiene ---------------------------------------------------------------------------------------------


def test_hygiene_finds_shared_secrets_orphans_and_diffuse_servers(web: Any, estate: dict[str, Any]) -> None:
    source = estate["warehouse"].secret_sources.first()
    SecretSource.objects.filter(server=estate["mailer"]).update(kind=source.kind, reference=source.reference)
    client = web(make.person())
    shared = text(client.get(address("hygiene")))
    assert source.reference in shared
    assert "Mailer" in shared
    owner = estate["forecast"].owner
    owner.is_active = False
    owner.save()
    orphans = text(client.get(address("hygiene", look="orphans")))
    assert "Forecast agent → Warehouse" in orphans
    for number in range(3):
        agent = make.agent(name=f"Planner {number}", team=make.team(name=f"Team {number}"))
        make.grant(agent=agent, server=estate["warehouse"])
    assert "Warehouse" in text(client.get(address("hygiene", look="diffuse", teams=2)))
    assert "Warehouse" not in text(client.get(address("hygiene", look="diffuse", teams=10))).split("<table")[-1]


def test_hygiene_finds_what_crosses_environments(web: Any, estate: dict[str, Any]) -> None:
    make.grant(agent=make.agent(name="Test rig", environment="test"), server=estate["warehouse"])
    page = text(web(make.person()).get(address("hygiene", look="environments")))
    assert "Test rig" in page
    assert "ask=path" in page


def test_hygiene_says_when_use_is_unknown(web: Any, estate: dict[str, Any]) -> None:
    page = text(web(make.person()).get(address("hygiene", look="unused")))
    assert "Use is unknown" in page
    assert "never seen" not in page


def test_hygiene_refuses_what_it_does_not_know(web: Any) -> None:
    client = web(make.person())
    assert client.get(address("hygiene", look="everything")).status_code == 404
    assert client.get(address("hygiene", look="unused", days="7")).status_code == 400


# --- Panels ----------------------------------------------------------------------------------------------


def test_panels_say_what_is_touched_and_what_breaks(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    owner, team = estate["warehouse"].owner, estate["warehouse"].team
    for name, pk in (
        ("server_radius", estate["warehouse"].pk),
        ("server_impact", estate["warehouse"].pk),
        ("server_sources", estate["warehouse"].pk),
        ("agent_radius", estate["forecast"].pk),
        ("system_radius", estate["ledger"].pk),
        ("person_radius", owner.pk),
        ("person_impact", owner.pk),
        ("team_radius", team.pk),
        ("team_impact", team.pk),
        ("grant_impact", estate["grant"].pk),
        ("connection_impact", estate["writes"].pk),
    ):
        fragment = client.get(address(name, pk), HTTP_HX_REQUEST="true")
        assert fragment.status_code == 200, name
        assert "<html" not in text(fragment), name
        assert address("explore") in text(fragment), name
        assert "<html" in text(client.get(address(name, pk))), name
    broken = text(client.get(address("server_impact", estate["warehouse"].pk)))
    assert "2</b> <span>agents lose a system" in broken
    assert "query" in broken  # the tools that go
    assert "Ledger" in broken


def test_panels_of_what_is_not_in_service_say_so(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person())
    idle, draft, waiting = make.agent(name="Idle"), make.draft(created_by=make.person()), make.requested_grant()
    lonely = make.system(name="Lonely")
    for name, pk in (
        ("agent_panel", idle.pk), ("agent_radius", idle.pk), ("agent_impact", idle.pk), ("server_radius", draft.pk),
        ("server_impact", draft.pk), ("server_sources", draft.pk), ("grant_impact", waiting.pk),
        ("system_panel", lonely.pk), ("system_radius", lonely.pk), ("person_radius", make.person().pk),
        ("team_impact", make.team().pk),
    ):  # fmt: skip
        assert client.get(address(name, pk)).status_code == 200, name
    services.revoke_relationship(
        actor=make.acting(make.person("security")), relationship=estate["grant"], reason="It is over."
    )
    assert "Nothing that is in force now depends on it." in text(
        client.get(address("grant_impact", estate["grant"].pk))
    )


def test_panels_hide_what_may_not_be_seen(web: Any, estate: dict[str, Any]) -> None:
    secret = make.system(name="Vault of wonders", confidential=True)
    make.connection(server=estate["warehouse"], system=secret, requested_by=secret.owner)
    client = web(make.person())
    for name in ("server_radius", "server_impact"):
        page = text(client.get(address(name, estate["warehouse"].pk)))
        assert "Vault of wonders" not in page, name
        assert str(secret.pk) not in page, name
    assert client.get(address("system_radius", secret.pk)).status_code == 404
    assert client.get(address("system_impact", secret.pk)).status_code == 404


def test_pages_carry_the_panels(web: Any, estate: dict[str, Any]) -> None:
    client = web(make.person("security"))
    owner = estate["warehouse"].owner
    for url, panel in (
        (reverse("catalog:server", args=[estate["warehouse"].pk]), "server_radius"),
        (reverse("catalog:agent", args=[estate["forecast"].pk]), "agent_radius"),
        (reverse("catalog:system", args=[estate["ledger"].pk]), "system_radius"),
        (reverse("accounts:person", args=[owner.pk]), "person_radius"),
        (reverse("catalog:retire", args=[estate["warehouse"].pk]), "server_impact"),
        (reverse("catalog:suspend", args=[estate["warehouse"].pk]), "server_impact"),
    ):
        pk = next(each.pk for each in (*estate.values(), owner) if str(each.pk) in url)
        assert address(panel, pk) in text(client.get(url)), url


def test_cutting_says_what_breaks_before_it_is_done(web: Any, estate: dict[str, Any]) -> None:
    page = text(web(estate["warehouse"].owner).get(address("grant_suspend", estate["grant"].pk)))
    broken = page[page.index("What breaks without it") :]
    assert "Forecast agent" in broken
    assert "Ledger" in broken
    assert f"of=grant:{estate['grant'].pk}" in broken
    assert Grant.objects.get(pk=estate["grant"].pk).status == "active"
