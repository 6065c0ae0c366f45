"""The graph as a file: three formats, filtered and of the past, in little memory, from one state of the data."""

import csv
import io
import json
import tracemalloc
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from django.db import connection as database

from registry.catalog.models import Agent
from registry.core import clock
from registry.trust import services
from registry.trust.api.exports import PIECE, graphml, json_graph
from registry.trust.models import Grant
from registry.trust.queries.exporting import NEVER_SEEN
from tests import factories as make

URL = "/api/v1/trust/export"
NS = "{http://graphml.graphdrawing.org/xmlns}"


def text(client: Any, query: str) -> str:
    response = client.get(f"{URL}?{query}")
    assert response.status_code == 200, response.content
    assert response.streaming
    return b"".join(response.streaming_content).decode()


def json_of(client: Any, query: str = "") -> Any:
    return json.loads(text(client, f"format=jgf{query}"))["graph"]


def lines_of(client: Any, query: str = "") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(client, f"format=csv{query}").removeprefix("\ufeff"))))


def xml_of(client: Any, query: str = "") -> tuple[dict[str, str], dict[str, dict[str, str]], list[dict[str, str]]]:
    """Facts of the graph, of the nodes by id, and of the edges with their ends."""
    root = ET.fromstring(text(client, f"format=graphml{query}"))  # noqa: S314 - our own output
    declared = {key.get("id"): key.get("attr.name") for key in root.iter(f"{NS}key")}

    def facts(element: ET.Element) -> dict[str, str]:
        return {str(declared[data.get("key")]): data.text or "" for data in element.findall(f"{NS}data")}

    graph = root.find(f"{NS}graph")
    assert graph is not None
    nodes = {str(node.get("id")): facts(node) for node in graph.iter(f"{NS}node")}
    return facts(graph), nodes, [dict(edge.attrib) | facts(edge) for edge in graph.iter(f"{NS}edge")]


@pytest.mark.django_db
class TestFormats:
    def test_all_formats_tell_the_same(self, api: Any) -> None:
        grant = make.grant(tools=["query"])
        connection = make.connection(server=grant.server, access="write", scopes=["a", "b"])
        waiting = make.requested_grant(server=grant.server)
        alone = make.system(name="Alone")
        client = api(make.person())
        graph = json_of(client)
        about, nodes, edges = xml_of(client)
        lines = lines_of(client)
        ids = {str(each.pk) for each in (grant, connection, waiting)}
        assert {edge["id"] for edge in graph["edges"]} == {edge["id"] for edge in edges} == ids
        assert {line["id"] for line in lines} == ids
        things = {grant.agent, waiting.agent, grant.server, connection.system, alone}
        assert set(graph["nodes"]) == set(nodes) == {str(each.pk) for each in things}
        assert graph["directed"] is True
        edge = next(each for each in graph["edges"] if each["id"] == str(connection.pk))
        assert (edge["source"], edge["target"]) == (str(grant.server_id), str(connection.system_id))
        assert edge["relation"] == "connection"
        assert edge["metadata"]["access"] == "write"
        assert (edge["metadata"]["in_force"], edge["metadata"]["scopes"]) == (True, ["a", "b"])
        drawn = next(each for each in edges if each["id"] == str(grant.pk))
        assert (drawn["source"], drawn["target"]) == (str(grant.agent_id), str(grant.server_id))
        assert (drawn["tools"], drawn["in_force"], drawn["kind"]) == ("query", "true", "grant")
        line = next(each for each in lines if each["id"] == str(waiting.pk))
        assert (line["status"], line["in_force"], line["agent_name"]) == ("requested", "False", waiting.agent.name)
        node = graph["nodes"][str(grant.server_id)]
        assert node["label"] == grant.server.name
        assert node["metadata"]["state"] == nodes[str(grant.server_id)]["state"] == "active"
        assert about["data_version"] == graph["metadata"]["data_version"]

    def test_files_say_what_they_are(self, api: Any) -> None:
        make.grant()
        client = api(make.person())
        for form, kind, name in (
            ("graphml", "application/graphml+xml", "trust.graphml"),
            ("jgf", "application/vnd.jgf+json", "trust.json"),
            ("csv", "text/csv; charset=utf-8", "trust.csv"),
        ):
            response = client.get(f"{URL}?format={form}")
            assert response["Content-Type"] == kind
            assert response["Content-Disposition"] == f'attachment; filename="{name}"'
            assert response["Cache-Control"] == "private, no-cache"
            assert 'rel="monitor"' in response["Link"]
            b"".join(response.streaming_content)

    def test_what_a_spreadsheet_would_run_is_text(self, api: Any) -> None:
        agent = make.agent(name='=HYPERLINK("https://evil.example")')
        make.grant(agent=agent)
        (line,) = lines_of(api(make.person()))
        assert line["agent_name"] == "'" + agent.name

    def test_names_do_not_break_the_file(self, api: Any) -> None:
        agent = make.agent(name='<a href="x">& "quoted" ]]>')
        Agent.objects.filter(pk=agent.pk).update(name=agent.name + "\x01\x0b\n")
        make.grant(agent=agent)
        client = api(make.person())
        _about, nodes, _edges = xml_of(client)
        assert nodes[str(agent.pk)]["name"] == agent.name + "\n"
        assert json_of(client)["nodes"][str(agent.pk)]["label"] == agent.name + "\x01\x0b\n"

    def test_an_empty_graph_is_a_graph(self, api: Any) -> None:
        client = api(make.person())
        graph = json_of(client)
        assert (graph["nodes"], graph["edges"]) == ({}, [])
        assert xml_of(client)[1:] == ({}, [])
        assert lines_of(client) == []


@pytest.mark.django_db
class TestWhatIsInIt:
    def test_filters_leave_their_part_and_the_ends_of_it(self, api: Any) -> None:
        grant = make.grant()
        connection = make.connection(server=make.active_server(environment="staging"))
        client = api(make.person())
        graph = json_of(client, f"&agent={grant.agent_id}")
        assert [edge["id"] for edge in graph["edges"]] == [str(grant.pk)]
        assert set(graph["nodes"]) == {str(grant.agent_id), str(grant.server_id)}
        graph = json_of(client, "&environment=staging")
        assert set(graph["nodes"]) == {str(connection.server_id), str(connection.system_id)}
        assert [line["id"] for line in lines_of(client, "&kind=connection")] == [str(connection.pk)]

    def test_a_past_instant(self, api: Any) -> None:
        grant = make.grant()
        then = clock.now().isoformat().replace("+", "%2B")
        services.revoke_relationship(actor=make.acting(grant.requested_by), relationship=grant, reason="Over.")
        later = make.grant()
        client = api(make.person())
        graph = json_of(client, f"&as_of={then}")
        (edge,) = graph["edges"]
        assert (edge["id"], edge["metadata"]["status"], edge["metadata"]["in_force"]) == (str(grant.pk), "active", True)
        assert graph["metadata"]["changes"] == ""
        assert str(later.agent_id) not in graph["nodes"]
        now = {edge["id"]: edge["metadata"] for edge in json_of(client)["edges"]}
        assert (now[str(grant.pk)]["status"], now[str(grant.pk)]["in_force"]) == ("revoked", False)
        assert len(lines_of(client, f"&as_of={then}&status=active")) == 1
        assert lines_of(client, "&as_of=2001-01-01T00:00:00Z") == []

    def test_every_relationship_carries_its_use(self, api: Any) -> None:
        grant, unused = make.grant(), make.grant()
        make.observation(grant.agent, grant.server, calls=3, errors=1)
        client = api(make.person())
        listed = {row["id"]: row for row in client.get("/api/v1/trust/relationships").json()["results"]}
        edges = {edge["id"]: edge["metadata"] for edge in json_of(client)["edges"]}
        assert (edges[str(grant.pk)]["calls"], edges[str(grant.pk)]["errors"]) == (3, 1)
        assert edges[str(grant.pk)]["last_used"][:19] == listed[str(grant.pk)]["observed"]["last_used"][:19]
        assert "calls" not in edges[str(unused.pk)]
        lines = {line["id"]: line for line in lines_of(client)}
        assert (lines[str(grant.pk)]["calls"], lines[str(unused.pk)]["calls"]) == ("3", "")
        _about, _nodes, drawn = xml_of(client)
        assert {edge["id"]: edge.get("calls") for edge in drawn} == {str(grant.pk): "3", str(unused.pk): None}
        alone = client.get(f"/api/v1/grants/{grant.pk}").json()
        assert alone["observed"] == listed[str(grant.pk)]["observed"]
        assert client.get(f"/api/v1/grants/{unused.pk}").json()["observed"] is None

    def test_hidden_things_are_counted_and_not_named(self, api: Any) -> None:
        owner = make.person()
        secret = make.active_server(owner=owner, confidential=True)
        grant = make.grant(server=secret, requested_by=owner)
        caller = make.agent(kind="server", server=secret, created_by=owner, name="A caller")
        shown = make.grant()
        for form in ("jgf", "graphml", "csv"):
            told = text(api(make.person()), f"format={form}")
            for said in (secret.name, str(secret.pk), str(grant.pk)):
                assert said not in told, form
            assert str(shown.pk) in told
            assert str(grant.pk) in text(api(owner), f"format={form}")
        graph = json_of(api(make.person()))
        assert graph["metadata"]["hidden"] == "1"
        assert "server" not in graph["nodes"][str(caller.pk)]["metadata"]
        assert json_of(api(owner))["nodes"][str(caller.pk)]["metadata"]["server"] == str(secret.pk)
        assert json_of(api(make.person("security")))["metadata"]["hidden"] == "0"
        # Of a past instant what was hidden then. With filters nothing is said: a filter would search what is hidden.
        assert json_of(api(make.person()), "&as_of=2001-01-01T00:00:00Z")["metadata"]["hidden"] == "0"
        assert "hidden" not in json_of(api(make.person()), "&status=active")["metadata"]


@pytest.mark.django_db(transaction=True)
def test_a_copy_that_follows_the_feed_stays_exact(api: Any) -> None:
    first = make.grant()
    client = api(make.person())
    response = client.get(f"{URL}?format=jgf")
    # Written by another while the file is read: not in the file, so it must be in the feed.
    chunks = iter(response.streaming_content)
    other = database.copy()
    with other.cursor() as cursor:
        cursor.execute("UPDATE catalog_server SET title = 'Renamed meanwhile' WHERE id = %s", [first.server_id])
    other.close()
    graph = json.loads(b"".join(chunks))["graph"]
    response.close()
    assert [edge["id"] for edge in graph["edges"]] == [str(first.pk)]
    assert graph["nodes"][str(first.server_id)]["metadata"].get("title") == first.server.title
    later = make.grant()
    feed = client.get("/api/v1/trust/changes", {"cursor": graph["metadata"]["changes"]}).json()
    told = {(each["kind"], each["id"]): each["operation"] for each in feed["results"]}
    assert told["server", str(first.server_id)] == "changed"
    assert told["grant", str(later.pk)] == "created"
    assert ("grant", str(first.pk)) not in told
    assert client.get(response["Link"].split(";")[0][1:-1]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_reader_who_leaves_holds_nothing_up(api: Any) -> None:
    make.grant()
    response = api(make.person()).get(f"{URL}?format=jgf")
    assert database.in_atomic_block
    response.close()
    assert not database.in_atomic_block


@pytest.mark.usefixtures("prompt_collector")
@pytest.mark.django_db
def test_a_file_of_any_size_is_written_in_little_memory(api: Any) -> None:
    """Rows are made by the thousand in memory of a few pieces: nothing is gathered before it is sent."""
    row = {
        "id": "x" * 36, "kind": "grant", "agent_id": "a" * 36, "server_id": "s" * 36, "status": "active",
        "in_force": True, "certified": False, "tools": ["query"], "all_tools": False, "access": "", "scopes": [],
        "valid_until": clock.now(), "certified_until": None, "lineage": "l" * 36, **NEVER_SEEN,
    }  # fmt: skip
    for write in (json_graph, graphml):
        tracemalloc.start()
        total = sum(len(chunk) for chunk in write({}, (("grant", row) for _ in range(20_000))))
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total > 4_000_000
        assert peak < 1_000_000, write.__name__


@pytest.mark.django_db
def test_rows_are_sent_in_pieces(api: Any) -> None:
    grant = make.grant()
    Grant.objects.bulk_create(
        Grant(
            agent=make.agent() if number == 0 else grant.agent, server=grant.server, tools=["query"], reason="x",
            status="revoked", valid_until=clock.now(), activated_at=clock.now(),
        )
        for number in range(400)
    )  # fmt: skip
    response = api(make.person()).get(f"{URL}?format=jgf")
    pieces = list(response.streaming_content)
    assert len(pieces) > 2
    assert all(PIECE <= len(piece) < 2 * PIECE for piece in pieces[:-1])
    assert len(json.loads(b"".join(pieces))["graph"]["edges"]) == 401


@pytest.mark.django_db
def test_who_may_export(api: Any) -> None:
    assert api().get(f"{URL}?format=jgf").status_code == 401
    assert api(make.person(), "catalog:read").get(f"{URL}?format=jgf").status_code == 403
    assert text(api(make.person(), "trust:read"), "format=jgf")
    refused = api(make.person()).get(f"{URL}?format=pdf")
    assert refused.status_code == 422
    assert refused["Content-Type"] == "application/problem+json"
