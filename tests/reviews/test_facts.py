"""Facts: what counts as a change, what does not, and how a change reads."""

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from registry.catalog import services as catalog
from registry.core import clock
from registry.core.canonical import digest
from registry.reviews.comparison import changes
from registry.reviews.facts import collect, evidence_of, reducible
from registry.reviews.presentation import sentence, signal
from registry.trust import services as trust
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def server():
    return make.active_server(title="Warehouse SQL")


class TestFingerprint:
    def test_is_the_digest_of_the_facts(self, server):
        found = evidence_of(server)
        assert found.fingerprint == digest(found.facts)
        assert found.evidence_hash == digest(found.snapshot)
        assert evidence_of(server).evidence_hash == found.evidence_hash

    def test_material_changes(self, server):
        owner = make.acting(server.owner)
        prints = [evidence_of(server).fingerprint]

        def changed() -> bool:
            prints.append(evidence_of(server).fingerprint)
            return len(set(prints)) == len(prints)

        catalog.set_tools(actor=owner, server=server, tools=[{"name": "query", "confirmed_class": "read"}])
        assert changed(), "the tool set"
        catalog.set_tools(actor=owner, server=server, tools=[{"name": "query", "confirmed_class": "write"}])
        assert changed(), "a tool's class"
        catalog.set_tools(
            actor=owner, server=server, tools=[{"name": "query", "confirmed_class": "write", "description": "Else"}]
        )
        assert changed(), "a tool's definition"
        catalog.set_secret_sources(
            actor=owner, server=server,
            sources=[{"kind": "vault", "reference": "kv/data/other", "credential_type": "static"}],
        )  # fmt: skip
        assert changed(), "the secret source"
        connection = make.connection(server=server, access="write")
        assert changed(), "a system reached"
        trust.reduce_connection(
            actor=make.acting(make.person("security")), connection=connection, access="read", reason="Reads"
        )
        assert changed(), "the access"
        catalog.update_system(
            actor=make.acting(connection.system.owner), system=connection.system, data_class="restricted"
        )
        assert changed(), "the data behind it"
        catalog.set_endpoints(actor=owner, server=server, endpoints=[{"url": "https://elsewhere.example.test/mcp"}])
        assert changed(), "an endpoint"

    def test_what_is_no_change(self, server):
        connection = make.connection(server=server)
        before = evidence_of(server).fingerprint
        catalog.update_identity(actor=make.acting(server.owner), server=server, title="Else", description="Else")
        catalog.update_system(actor=make.acting(connection.system.owner), system=connection.system, name="Renamed")
        server.secret_sources.update(last_rotated_on=clock.today())
        server.owner.name = "New Name"
        server.owner.save()
        make.grant(server=server)
        make.requested_connection(server=server)
        security = make.acting(make.person("security"))
        catalog.suspend_server(actor=security, server=server, reason="Incident")
        assert evidence_of(server).fingerprint == before

    def test_a_grant_follows_its_tools_and_its_reach_but_not_other_tools(self, server):
        grant = make.grant(server=server, tools=["query"])
        before = evidence_of(grant).fingerprint
        owner = make.acting(server.owner)
        listed = [
            {"name": "query", "description": "Runs a query.", "confirmed_class": "read"},
            {"name": "export", "description": "Writes a file.", "confirmed_class": "write"},
        ]
        catalog.set_tools(actor=owner, server=server, tools=[*listed, {"name": "more", "confirmed_class": "read"}])
        assert evidence_of(grant).fingerprint == before
        make.connection(server=server)
        assert evidence_of(grant).fingerprint != before

    def test_every_tool_means_also_new_ones(self, server):
        grant = make.grant(server=server, all_tools=True)
        before = evidence_of(grant).fingerprint
        catalog.set_tools(
            actor=make.acting(server.owner), server=server, tools=[{"name": "another", "confirmed_class": "read"}]
        )
        assert evidence_of(grant).fingerprint != before

    def test_many_cost_what_one_costs(self, server):
        grants = [make.grant(server=server).pk, make.grant().pk, make.grant().pk]

        def queries(ids):
            with CaptureQueriesContext(database) as captured:
                collect("grant", ids)
            return len(captured)

        assert queries(grants[:1]) == queries(grants)


class TestWords:
    def test_changes_read_as_words(self, server):
        connection = make.connection(server=server, system=make.system(name="Ledger replica"))
        before = evidence_of(server).evidence
        catalog.set_tools(
            actor=make.acting(server.owner), server=server,
            tools=[
                {"name": "query", "description": "Runs a query.", "confirmed_class": "execute"},
                {"name": "purge", "confirmed_class": "destructive"},
            ],
        )  # fmt: skip
        catalog.update_system(
            actor=make.acting(connection.system.owner), system=connection.system, data_class="confidential"
        )
        found = {(c.sign, c.what, c.detail) for c in changes(before, evidence_of(server).evidence)}
        assert found == {
            ("add", "purge", "Destructive"),
            ("rem", "export", "Write"),
            ("mod", "query", "Read became Execute"),
            ("mod", "Ledger replica", "went from Internal to Confidential data"),
        }
        assert changes(before, before) == []

    def test_the_sentence_of_each_kind(self, server):
        grant = make.grant(server=server, agent=make.agent(name="Forecast agent"), behalf_detail="12 planners")
        connection = make.connection(server=server, system=make.system(name="Sales warehouse"))
        assert sentence(evidence_of(grant).evidence) == (
            "Forecast agent may use 2 tools of Warehouse SQL on behalf of 12 planners, reaching Sales warehouse, "
            "with a credential from HashiCorp Vault or OpenBao."
        )
        assert sentence(evidence_of(connection).evidence).startswith(
            "Warehouse SQL may read on Sales warehouse (internal data), with a credential from"
        )
        assert "1 agent calls it" in sentence(evidence_of(server).evidence)

    def test_the_worst_fact_comes_first(self, server):
        assert signal(evidence_of(server).evidence).words == "Can write"
        grant = make.grant(server=server, all_tools=True)
        assert signal(evidence_of(grant).evidence).tone == "danger"
        server.owner.is_active = False
        server.owner.save()
        assert signal(evidence_of(server).evidence).words == "Its owner left"

    def test_what_can_be_reduced(self, server):
        grant = make.grant(server=server, tools=["query", "export"])
        connection = make.connection(server=server, access="write", scopes=["orders"])
        assert reducible(evidence_of(server).snapshot) == []
        assert reducible(evidence_of(grant).snapshot) == ["export", "query"]
        assert reducible(evidence_of(connection).snapshot) == ["access:read", "access:write", "orders"]
