"""The feed of changes: whoever follows it has what a fresh reader would have, and nothing they may not see."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from registry.accounts.models import Membership
from registry.catalog.models import Change, Server
from registry.trust import services
from tests import factories as make

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/trust/changes"


class Follower:
    """A client that keeps a copy: it remembers the last `next`, and applies what it is told."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.copy: dict[tuple[str, str], Any] = {}
        self.next = self._get(URL)["next"]

    def _get(self, url: str) -> Any:
        answer = self.client.get(url)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def follow(self, limit: int = 50) -> list[tuple[str, str, str]]:
        """Everything until there is no more; returns (kind, id, operation) in order."""
        told = []
        while True:
            body = self._get(f"{self.next}&limit={limit}")
            self.next = body["next"].replace(f"&limit={limit}", "")
            for each in body["results"]:
                told.append((each["kind"], each["id"], each["operation"]))
                if each["operation"] == "gone":
                    assert each["state"] is None
                    self.copy.pop((each["kind"], each["id"]), None)
                else:
                    self.copy[each["kind"], each["id"]] = each["state"]
            if not body["more"]:
                return told

    @property
    def cursor(self) -> str:
        return parse_qs(urlsplit(self.next).query)["cursor"][0]


def told_of(told: list[tuple[str, str, str]], thing: Any) -> list[str]:
    return [operation for _kind, id, operation in told if id == str(thing.pk)]


@contextmanager
def another_writer() -> Iterator[Any]:
    """A second connection with an open transaction; commits at the end."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            yield cursor
        other.commit()
    finally:
        other.close()


def rename(cursor: Any, server: Server, title: str) -> None:
    cursor.execute("UPDATE catalog_server SET title = %s WHERE id = %s", [title, server.pk])


# --- What is told ----------------------------------------------------------------------------------------


def test_a_new_reader_begins_with_a_cursor_and_nothing_else(api: Any) -> None:
    make.grant()
    body = api(make.person()).get(URL).json()
    assert (body["results"], body["more"]) == ([], False)
    assert "cursor=" in body["next"]


def test_what_happened_is_told_once_as_it_stands_now(api: Any) -> None:
    follower = Follower(api(make.person()))
    assert follower.follow() == []
    grant = make.grant()
    told = follower.follow()
    assert told_of(told, grant) == ["created"]
    assert told_of(told, grant.agent) == ["created"]
    assert told_of(told, grant.server) == ["created"]
    assert {kind for kind, _id, _operation in told} >= {"agent", "server", "tool", "secret_source", "grant"}
    listed = api(make.person()).get("/api/v1/trust/relationships").json()["results"]
    assert follower.copy["grant", str(grant.pk)] == listed[0]
    assert follower.follow() == []
    services.revoke_relationship(actor=make.acting(grant.requested_by), relationship=grant, reason="Over.")
    assert told_of(follower.follow(), grant) == ["changed"]
    assert follower.copy["grant", str(grant.pk)]["status"] == "revoked"
    assert follower.follow() == []


def test_pages_lose_nothing_and_double_nothing(api: Any) -> None:
    follower, whole = Follower(api(make.person())), Follower(api(make.person()))
    server = make.active_server()
    for _ in range(4):
        make.grant(server=server)
        make.connection(server=server)
    told = follower.follow(limit=3)
    expected = whole.follow(limit=200)
    # A thing that changes again further on is told again there; its state is the present one each time.
    assert {each[:2] for each in told} == {each[:2] for each in expected}
    assert [each for each in told if each[2] == "created"] == sorted(
        {each for each in expected if each[2] == "created"}, key=told.index
    )
    assert follower.copy == whole.copy
    assert Change.objects.count() > 20


def test_a_writer_who_commits_late_is_not_overlooked(api: Any) -> None:
    slow, quick = make.active_server(), make.active_server()
    follower = Follower(api(make.person()))
    with another_writer() as writer:
        rename(writer, slow, "Late")
        rename_now = connection.cursor()
        rename(rename_now, quick, "Early")
        told = follower.follow()
        assert told_of(told, quick) == ["changed"]
        assert told_of(told, slow) == []
    told = follower.follow()
    assert told_of(told, slow) == ["changed"]
    assert told_of(told, quick) == []
    assert follower.copy["server", str(slow.pk)]["title"] == "Late"
    assert follower.follow() == []


def test_a_writer_who_commits_between_two_pages_waits_for_the_next_walk(api: Any) -> None:
    servers = [make.active_server() for _ in range(4)]
    late = make.active_server()
    client = api(make.person())
    follower = Follower(client)
    with another_writer() as writer:
        rename(writer, late, "Late")
        with connection.cursor() as cursor:
            for server in servers:
                rename(cursor, server, "New")
        first = client.get(f"{follower.next}&limit=2").json()
        assert first["more"] is True
    with connection.cursor() as cursor:
        rename(cursor, servers[0], "Newer")
    follower.next = first["next"].replace("&limit=2", "")
    told = [(each["kind"], each["id"], each["operation"]) for each in first["results"]]
    told += follower.follow(limit=2)
    for server in servers:
        assert told_of(told, server) == ["changed"]
    assert told_of(told, late) == []
    told = follower.follow(limit=2)
    assert told_of(told, servers[0]) == ["changed"]
    assert told_of(told, late) == ["changed"]
    assert len(told) == 2


def test_what_was_rolled_back_never_happened(api: Any) -> None:
    server = make.active_server()
    follower = Follower(api(make.person()))
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        rename(cursor, server, "Never")
    other.rollback()
    other.close()
    assert follower.follow() == []


# --- What may be seen ------------------------------------------------------------------------------------


def test_hidden_things_are_passed_over_and_never_named(api: Any) -> None:
    owner = make.person()
    make.team(owner)
    earlier = Follower(api(make.person()))
    secret = make.active_server(owner=owner, confidential=True)
    assert secret.name not in earlier.client.get(earlier.next).content.decode()
    member, overseer, own = (Follower(api(person)) for person in (make.person(), make.person("security"), owner))
    Server.objects.filter(pk=secret.pk).update(title="Still secret")
    secret.tools.update(confirmed_class="destructive")
    grant = make.grant(server=secret, requested_by=owner)
    connection_ = make.connection(server=secret, requested_by=owner)
    answer = member.client.get(member.next)
    for thing in (secret, grant, connection_):
        assert str(thing.pk) not in answer.content.decode()
    text = answer.content.decode()
    assert secret.name not in text
    assert str(secret.tools.first().pk) not in text
    assert str(make.source_of(secret).pk) not in text
    told = member.follow()
    assert told_of(told, grant.agent) == ["created"]
    assert told_of(told, secret) == told_of(told, grant) == []
    for follower in (overseer, own):
        seen = follower.follow()
        assert told_of(seen, secret) == told_of(seen, secret.tools.first()) == ["changed"]
        assert told_of(seen, grant) == told_of(seen, connection_) == ["created"]


def test_what_leaves_ones_sight_is_gone_and_what_enters_it_appears(api: Any) -> None:
    server = make.active_server()
    make.grant(server=server)
    follower, own = Follower(api(make.person())), Follower(api(server.owner))
    follower.copy["server", str(server.pk)] = {}
    Server.objects.filter(pk=server.pk).update(confidential=True)
    assert told_of(follower.follow(), server) == ["gone"]
    assert told_of(own.follow(), server) == ["changed"]
    Server.objects.filter(pk=server.pk).update(title="Nobody's business")
    assert follower.follow() == []
    Server.objects.filter(pk=server.pk).update(confidential=False)
    assert told_of(follower.follow(), server) == ["appeared"]
    assert told_of(own.follow(), server) == ["changed"]


def test_an_agent_does_not_name_the_hidden_server_it_is(api: Any) -> None:
    owner = make.person()
    secret = make.active_server(owner=owner, confidential=True)
    follower, own = Follower(api(make.person())), Follower(api(owner))
    agent = make.agent(kind="server", server=secret, created_by=owner)
    follower.follow(), own.follow()
    assert follower.copy["agent", str(agent.pk)]["server_id"] is None
    assert own.copy["agent", str(agent.pk)]["server_id"] == str(secret.pk)


def test_other_rights_need_a_fresh_copy(api: Any) -> None:
    person, team = make.person(), make.team()
    client = api(person)
    follower = Follower(client)
    assert follower.follow() == []
    Membership.objects.create(team=team, user=person)
    answer = client.get(follower.next)
    assert answer.status_code == 410
    assert answer.json()["type"].endswith("#start-again")
    assert Follower(client).follow() == []
    assert api(make.person()).get(follower.next).status_code == 410


def test_who_may_ask(api: Any) -> None:
    assert api().get(URL).status_code == 401
    left = make.person()
    client = api(left)
    left.roles = []
    left.save()
    assert client.get(URL).status_code == 403
    assert api(make.person(), "catalog:read").get(URL).status_code == 403
    assert api(make.person(), "trust:read").get(URL).status_code == 200
    assert api(make.person()).post(URL).status_code == 405


# --- Cursors that are none -------------------------------------------------------------------------------


def forged(cursor: str, **values: Any) -> str:
    names = ("since", "until", "xid", "number", "last", "rights")
    facts = dict(zip(names, orjson.loads(urlsafe_b64decode(cursor + "==")), strict=True)) | values
    return urlsafe_b64encode(orjson.dumps([facts[name] for name in names])).decode().rstrip("=")


def test_cursors_that_are_none_are_refused(api: Any) -> None:
    make.grant()
    client = api(make.person())
    cursor = Follower(client).cursor
    wrong = ["x", "%00", "e30", "W10", "a" * 3000, forged(cursor, since="9:1:"), forged(cursor, since="'; --")]
    wrong += [forged(cursor, xid=-1), forged(cursor, number="1"), forged(cursor, until="x")]
    for text in wrong:
        answer = client.get(URL, {"cursor": text})
        assert answer.status_code == 400, (text[:40], answer.content)
    assert client.get(URL, {"cursor": cursor, "limit": "none"}).status_code == 422
    assert client.get(URL, {"cursor": cursor, "since": "x"}).status_code == 422


def test_a_database_restored_from_an_earlier_state_is_noticed(api: Any) -> None:
    make.grant()
    client = api(make.person())
    cursor = Follower(client).cursor
    for text in (forged(cursor, since="900000000:900000000:"), forged(cursor, last=10**9)):
        assert client.get(URL, {"cursor": text}).status_code == 410


def test_a_page_costs_the_same_for_one_change_and_many(api: Any) -> None:
    client = api(make.person())
    server = make.active_server()
    counted = []
    for many in (1, 5):
        follower = Follower(client)
        for _ in range(many):
            make.connection(server=server, system=make.system())
        with CaptureQueriesContext(connection) as captured:
            client.get(f"{follower.next}&limit=200")
        counted.append(len(captured))
    assert counted[0] == counted[1]
    # Six of them bring the graph in memory up to the change: the answer names the version of the data.
    assert counted[1] <= 18


def test_whoever_knows_the_last_answer_hears_that_nothing_changed(api: Any) -> None:
    client = api(make.person())
    follower = Follower(client)
    follower.follow()
    first = client.get(follower.next)
    assert first.json()["data_version"] == client.get("/api/v1/trust/stats").json()["data_version"]
    again = client.get(follower.next, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    grant = make.grant()
    now = client.get(follower.next, headers={"if-none-match": first["ETag"]})
    assert now.status_code == 200
    assert now.json()["data_version"] != first.json()["data_version"]
    assert str(grant.pk) in {each["id"] for each in now.json()["results"]}
