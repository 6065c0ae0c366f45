"""The demo is made by the same acts as everything else, so it must obey the same rules."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from registry.accounts.demo import DEMO_ACCOUNTS
from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.queries import verify_chain
from registry.catalog.models import Agent, SecretSource, Server, System
from registry.core.independence import bars
from registry.portal.demo.story import read
from registry.reviews.models import Campaign, Certificate, Decision, Item, Remediation
from registry.trust.models import Connection, Grant
from tests.factories import person


def test_the_story_grants_only_tools_that_the_servers_list():
    listed = {plan["key"]: {name for name, _ in plan["tools"]} for plan in read("servers")}
    for name, _, _, _, calls in read("agents"):
        for key, tools in calls.items():
            assert tools == "*" or set(tools) <= listed[key], (name, key)


def test_the_story_names_only_people_and_teams_there_are():
    organisation = read("organisation")
    people = {row[0] for row in organisation["people"]}
    teams = {row[0] for row in organisation["teams"]}
    assert {account.email.partition("@")[0] for account in DEMO_ACCOUNTS} <= people
    for plan in read("servers"):
        assert {plan["owner"], plan["deputy"]} <= people
        assert plan["team"] in teams
        assert plan["owner"] != plan["deputy"]


@pytest.mark.django_db
def test_only_where_everybody_may_know_its_password(settings):
    settings.EMBEDDED = False
    with pytest.raises(CommandError, match="embedded profile only"):
        call_command("demo")
    assert not User.objects.exists()


@pytest.mark.django_db
def test_it_leaves_what_is_there_alone():
    somebody = person()
    call_command("demo", if_empty=True)
    assert list(User.objects.all()) == [somebody]
    with pytest.raises(CommandError, match="--reset"):
        call_command("demo")


@pytest.mark.django_db(transaction=True)
def test_the_demo_shows_every_state_and_breaks_no_rule():
    out = StringIO()
    call_command("demo", stdout=out)
    now = timezone.now()
    assert "47 servers, 60 agents, 25 systems" in out.getvalue()

    # Every page has something to show.
    assert Server.objects.count() == 47 and Agent.objects.count() == 60 and System.objects.count() == 25
    assert set(Server.objects.values_list("lifecycle", flat=True)) == {
        "draft", "submitted", "active", "suspended", "retired",
    }  # fmt: skip
    assert {"requested", "active", "suspended", "reduced", "revoked", "expired", "refused"} <= set(
        Grant.objects.values_list("status", flat=True)
    )
    periodic = Campaign.objects.filter(kind="periodic")
    assert sorted(periodic.values_list("state", flat=True)) == ["active", "completed"]
    assert Campaign.objects.filter(kind="intake", state="active").count() == 2
    assert Item.objects.filter(campaign__state="active", state="in_review").exists()
    assert not Remediation.objects.exclude(state="verified").exists()

    # One server per trouble.
    assert Server.objects.filter(lifecycle="draft", deputy=None).exists()
    assert Server.objects.filter(lifecycle="draft", lifecycle_reason__gt="").exists()
    assert Server.objects.filter(lifecycle="active", certified_until__lt=now).exists()
    assert Server.objects.filter(confidential=True, lifecycle="active").exists()
    assert SecretSource.objects.filter(last_rotated_on=(now - timedelta(days=412)).date()).exists()
    assert Grant.objects.filter(status="active", all_tools=True).exists()
    assert Connection.objects.filter(status="active", access="write", system__data_class="confidential").exists()

    # And it is all true: nobody decided on their own, certificates rest on signatures, the chain holds.
    for relationship in [*Grant.objects.exclude(decided_by=None), *Connection.objects.exclude(decided_by=None)]:
        assert bars(relationship.decided_by_id, relationship) == [], relationship
    for decision in Decision.objects.exclude(signed_at=None).select_related("work_item__item"):
        assert bars(decision.work_item.reviewer_id, decision.work_item.item) == [], decision
    assert not Certificate.objects.filter(decision__signed_at=None).exists()
    assert all(server.purpose and server.deputy_id for server in Server.objects.filter(lifecycle="active"))
    assert Event.objects.filter(at__lt=now - timedelta(days=300)).exists()
    assert not Event.objects.filter(at__gt=timezone.now()).exists()
    assert verify_chain().verified

    call_command("demo", if_empty=True, stdout=out)
    assert Server.objects.count() == 47
