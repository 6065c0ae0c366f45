"""What the rules recommend: a table of evidence and answers, and who may read them when."""

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from registry.core import clock
from registry.reviews import services as reviews
from registry.reviews.desk import last_certified
from registry.reviews.models import FirstChoice, Item
from registry.reviews.recommendation import beyond_purpose, may_show, recommend
from tests import factories as make

TODAY = date(2026, 11, 22)
LAST = datetime(2026, 5, 21, 9, tzinfo=UTC)


def tool(name: str, tool_class: str = "read", approved: bool = True) -> dict[str, Any]:
    return {"name": name, "class": tool_class, "approved": approved}


def evidence(kind: str = "grant", *, tools: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """Evidence with nothing wrong in it, as it is frozen; `changes` name what differs."""
    listed = [tool("query"), tool("export", "write")] if tools is None else tools
    facts: dict[str, Any] = {
        "kind": kind,
        "tools": [{"name": each["name"], "digest": "d" * 64, "class": each["class"]} for each in listed],
        "downstream": [{"system": "s1", "data_class": "internal"}],
    }
    if kind == "grant":
        facts |= {"all_tools": False, "tool_names": [each["name"] for each in listed]}
    if kind == "connection":
        facts = {"kind": kind, "data_class": "internal", "access": "write", "scopes": ["orders"]}
    context: dict[str, Any] = {
        "server": {"label": "Stock", "owner": "Ona", "owner_active": True, "deputy": "Dara", "agents": 0},
        "secrets": [
            {
                "shown": "Vault",
                "reference": "kv/stock",
                "credential_type": "rotated",
                "rotation_interval_days": 30,
                "last_rotated_on": "2026-11-10",
                "verification": "verified",
            }
        ],
        "revocation": {"steps": 1},
        "purpose": {"ends_on": "2027-06-30", "data_classes": ["internal"]},
        "tools": [{"name": each["name"], "approved": each["approved"]} for each in listed],
    }
    if kind == "grant":
        context["agent"] = {"name": "Forecast", "owner": "Ada", "owner_active": True}
    if kind == "connection":
        context["system"] = {"name": "Ledger", "owner": "Lea"}
    made = {"facts": facts, "context": context}
    for path, value in changes.items():
        part, *names = path.split("__")
        place = made[part]
        for name in names[:-1]:
            place = place[name] if name.isalpha() else place[int(name)]
        place[names[-1]] = value
    return made


def asked(shown: dict[str, Any], **facts: Any) -> Any:
    return recommend(SimpleNamespace(seen=SimpleNamespace(evidence=shown)), today=TODAY, **facts)


SOUND = evidence()
TABLE: list[tuple[str, dict[str, Any], str, str]] = [
    ("nothing changed since it was certified", evidence(), "certify", "Nothing material changed"),
    ("the same for a server", evidence("server"), "certify", "21 May 2026"),
    ("the same for a connection", evidence("connection"), "certify", "Nothing material changed"),
    ("the caller's owner left", evidence(context__agent__owner_active=False), "revoke", "Ada, who owns Forecast, has"),
    ("nobody owns the caller", evidence(context__agent__owner=""), "revoke", "Nobody owns Forecast"),
    ("the server's owner left", evidence(context__server__owner_active=False), "not_decided", "Dara is the deputy"),
    (
        "the server's owner left and there is no deputy",
        evidence(context__server={"label": "Stock", "owner": "Ona", "owner_active": False, "deputy": "", "agents": 2}),
        "revoke",
        "Ona, who owns Stock, has left",
    ),
    ("nobody owns the system", evidence("connection", context__system__owner=""), "not_decided", "Nobody owns Ledger"),
    ("the purpose ended", evidence(context__purpose__ends_on="2026-11-21"), "revoke", "ended on 21 November 2026"),
    ("the purpose ends today", evidence(context__purpose__ends_on="2026-11-22"), "certify", "Nothing material"),
    ("there is no purpose", evidence(context__purpose=None), "not_decided", "No purpose"),
    (
        "data the purpose does not allow",
        evidence("connection", facts__data_class="confidential"),
        "revoke",
        "does not allow confidential data",
    ),
    (
        "a tool that was never approved",
        evidence(tools=[tool("query"), tool("export", "write", approved=False)]),
        "certify_reduced",
        "never approved: export",
    ),
    (
        "a wildcard that hands out destruction",
        evidence(tools=[tool("query"), tool("drop", "destructive")], facts__all_tools=True),
        "certify_reduced",
        "destroy or execute: drop",
    ),
    (
        "a destructive tool somebody asked for by name",
        evidence(tools=[tool("query"), tool("drop", "destructive")]),
        "certify",
        "Nothing material",
    ),
    (
        "nothing worth keeping",
        evidence(tools=[tool("drop", "destructive", approved=False)]),
        "not_decided",
        "never approved: drop",
    ),
]


class TestTable:
    @pytest.mark.parametrize(("shown", "value", "says"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
    def test_recommends(self, shown, value, says):
        found = asked(shown, baseline=(deepcopy(shown), LAST))
        assert found.value == value
        assert any(says in reason for reason in found.reasons), found.reasons

    def test_what_is_no_longer_listed_goes(self):
        shown = evidence()
        shown["facts"]["tools"].append({"name": "gone", "digest": "", "class": ""})
        shown["facts"]["tool_names"].append("gone")
        found = asked(shown)
        assert (found.value, found.kept) == ("certify_reduced", ("query", "export"))
        shown["facts"] |= {"tools": [{"name": "gone", "digest": "", "class": ""}], "tool_names": ["gone"]}
        assert asked(shown).value == "revoke"

    def test_a_reduction_names_what_to_keep_in_order(self):
        shown = evidence(tools=[tool("a"), tool("b", approved=False), tool("c")])
        assert asked(shown).kept == ("a", "c")

    def test_without_a_certificate_the_rules_have_no_opinion_on_sound_evidence(self):
        found = asked(evidence())
        assert (found.value, found.reasons) == ("", ())
        assert any("never certified" in line for line in found.counter)

    def test_changed_facts_are_no_reason_to_certify(self):
        before = evidence(tools=[tool("query")])
        found = asked(evidence(), baseline=(before, LAST))
        assert found.value == ""
        assert any("facts changed" in line for line in found.counter)

    def test_the_most_cautious_answer_wins_and_the_rest_stands_against_it(self):
        shown = evidence(
            tools=[tool("query"), tool("drop", "destructive")],
            facts__all_tools=True,
            context__purpose__ends_on="2026-01-01",
            context__server__owner_active=False,
        )
        found = asked(shown, baseline=(deepcopy(shown), LAST))
        assert found.value == "revoke"
        assert found.kept == ()
        assert len(found.reasons) == 1
        text = " ".join(found.counter)
        for other in ("drop", "Dara is the deputy", "Nothing material changed"):
            assert other in text

    def test_it_gives_the_same_answer_every_time(self):
        shown = evidence(tools=[tool("query"), tool("drop", "execute", approved=False)], facts__all_tools=True)
        assert asked(shown) == asked(deepcopy(shown))


class TestCounterEvidence:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"context__secrets__0__last_rotated_on": "2026-09-01"}, "82 days old"),
            (
                {"context__secrets__0__credential_type": "static", "context__secrets__0__last_rotated_on": None},
                "last rotated is unknown",
            ),
            ({"context__secrets__0__verification": "not_found"}, "knows no credential kv/stock"),
            ({"context__secrets__0__verification": "deleted"}, "kv/stock is marked for deletion"),
            ({"context__revocation__steps": 0}, "switched off is not documented"),
            ({"facts__all_tools": True}, "will list in future"),
            ({"facts__downstream": [{"system": "s", "data_class": "restricted"}]}, "restricted data"),
        ],
    )
    def test_a_sound_item_is_certified_against_it(self, changes, says):
        shown = evidence(**changes)
        found = asked(shown, baseline=(deepcopy(shown), LAST))
        assert found.value == "certify"
        assert any(says in line for line in found.counter), found.counter

    def test_a_rotated_credential_within_its_interval_is_no_counter_evidence(self):
        assert not any("days old" in line for line in asked(evidence()).counter)

    def test_the_doubts_of_earlier_reviewers_are_told_but_decide_nothing(self):
        shown = evidence()
        past = [
            SimpleNamespace(value="not_decided", signed_at=LAST - timedelta(days=30)),
            SimpleNamespace(value="certify", signed_at=LAST),
        ]
        with_past = asked(shown, baseline=(deepcopy(shown), LAST), past=past)
        without = asked(shown, baseline=(deepcopy(shown), LAST))
        assert with_past.value == without.value == "certify"
        assert any("not sure on 21 April 2026" in line for line in with_past.counter)

    @pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
    def test_unknown_use_is_never_called_unused(self, row):
        found = asked(row[1], baseline=(deepcopy(row[1]), LAST))
        said = " ".join([*found.reasons, *found.counter]).lower()
        assert "unused" not in said and "not used" not in said and "never used" not in said
        assert "whether it is used is unknown" in said


@pytest.mark.django_db
class TestOnRealEvidence:
    """The rules read what is really frozen, of every kind."""

    def test_every_kind_has_an_answer(self):
        reviewer = make.person("reviewer")
        server = make.active_server()
        make.grant(server=server, all_tools=True)
        make.connection(server=server, access="write", scopes=["a", "b"])
        campaign = make.campaign(reviewer)
        for item in campaign.items.all():
            found = recommend(item, last_certified(item))
            assert found.counter, item.kind

    def test_what_was_certified_and_did_not_change_is_recommended(self):
        reviewer = make.person("reviewer")
        server = make.active_server()
        first = make.campaign(reviewer, kinds=["server"])
        make.decide(first.items.get())
        make.sign(first, reviewer)
        later = make.campaign(reviewer, kinds=["server"], name="Again").items.get(server=server)
        found = recommend(later, last_certified(later))
        assert found.value == "certify"


@pytest.mark.django_db
class TestAnchorControl:
    @pytest.mark.parametrize(("tier", "shown"), [("critical", False), ("high", False), ("medium", True), ("low", True)])
    def test_on_high_tiers_it_waits_for_a_first_own_answer(self, tier, shown):
        item, held = self.reviewed(tier)
        assert may_show(item, held) is shown
        make.decide(item, "revoke")
        assert may_show(item, held) is True
        assert FirstChoice.objects.count() == (0 if shown else 1)

    def test_the_first_answer_stays_when_it_is_edited_or_taken_back(self):
        item, held = self.reviewed("high")
        first = make.decide(item, "certify")
        assert (first.first_value, first.value) == ("certify", "certify")
        edited = make.decide(item, "revoke")
        assert (edited.first_value, edited.value) == ("certify", "revoke")
        reviews.undo_decision(actor=make.acting(held.reviewer), work_item=held)
        again = make.decide(item, "not_decided")
        assert again.first_value == "certify"

    def test_on_low_tiers_there_is_no_first_answer_before_it(self):
        item, _held = self.reviewed("low")
        assert make.decide(item, "certify").first_value == ""

    def test_another_person_answers_first_anew(self):
        item, held = self.reviewed("high")
        make.decide(item, "certify")
        other = make.person("reviewer")
        reviews.reassign_work_item(actor=make.acting(held.reviewer), work_item=held, to=other, note="Away.")
        moved = make.work_of(item)
        assert moved.reviewer == other
        assert may_show(Item.objects.get(pk=item.pk), moved) is False
        assert make.decide(item, "revoke").first_value == "revoke"

    def test_what_was_recommended_is_kept_with_the_answer(self):
        reviewer = make.person("reviewer")
        tools = [
            {"name": "query", "description": "Reads.", "confirmed_class": "read"},
            {"name": "purge", "description": "Deletes.", "confirmed_class": "destructive"},
        ]
        make.grant(server=make.active_server(tools=tools), all_tools=True)
        item = make.campaign(reviewer, kinds=["grant"]).items.get()
        assert make.decide(item, "certify").recommended == "certify_reduced"

    def reviewed(self, tier: str) -> tuple[Item, Any]:
        reviewer = make.person("reviewer")
        server = make.active_server()
        if server.tier != tier:
            make.override_tier(server, tier)
        item = make.campaign(reviewer, kinds=["server"]).items.get()
        assert item.tier == tier
        return item, make.work_of(item)


def test_today_is_the_default():
    shown = evidence(context__purpose__ends_on=(clock.today() - timedelta(days=1)).isoformat())
    assert recommend(SimpleNamespace(seen=SimpleNamespace(evidence=shown))).value == "revoke"


CLASSES = ("public", "internal", "confidential", "restricted")


@pytest.mark.parametrize("allowed", CLASSES)
@pytest.mark.parametrize("data", CLASSES)
def test_data_is_too_much_when_it_is_more_harmful_than_the_purpose_allows(allowed, data):
    """Exhaustive: whoever may hold internal data may hold public data."""
    wrong = CLASSES.index(data) > CLASSES.index(allowed)
    purpose = {"ends_on": "2027-06-30", "data_classes": [allowed]}
    shown = evidence("connection", facts__data_class=data, context__purpose=purpose)
    found = recommend(SimpleNamespace(seen=SimpleNamespace(evidence=shown)), today=TODAY)
    assert (found.value == "revoke") is wrong
    shown = evidence("server", facts__downstream=[{"system": "s", "data_class": data}], context__purpose=purpose)
    found = recommend(SimpleNamespace(seen=SimpleNamespace(evidence=shown)), today=TODAY)
    assert any("which its purpose does not allow" in told for told in (*found.reasons, *found.counter)) is wrong
    assert bool(beyond_purpose(shown["facts"], shown["context"])) is wrong
