"""Setting campaigns up: what a template may say, the guided form without a script, and the same over REST."""

import html
import re
from datetime import timedelta

import pytest
from django.urls import reverse

from registry.audit.models import Event
from registry.core import clock
from registry.core.errors import Changed, Invalid, SecretRefused
from registry.reviews import services as reviews
from registry.reviews.cadence import LADDERS
from registry.reviews.models import Template
from registry.reviews.template_form import TemplateForm
from tests import factories as make

pytestmark = pytest.mark.django_db
STAGE = {"reviewer_rule": "pool", "reviewers_per_item": 1, "strategy": "by_tier", "duration_days": 14}


@pytest.fixture
def manager():
    return make.person("campaign_manager")


def refused(**facts) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as error:
        make.template(**facts)
    return error.value.fields


class TestStages:
    def test_several_are_kept_in_order(self):
        team, one = make.team(make.person()), make.person("reviewer")
        made = make.template(
            stages=[
                {"reviewer_rule": "group", "group": team, "name": "The team confirms", "duration_days": 10},
                {"reviewers": [one], "fallback": ["security"], "reviewers_per_item": 1, "strategy": "all_must_certify"},
            ]
        )
        stages = list(made.stages.order_by("position"))
        assert [(each.position, each.reviewer_rule, each.name) for each in stages] == [
            (1, "group", "The team confirms"),
            (2, "pool", ""),
        ]
        assert (stages[0].group, list(stages[1].reviewers.all()), stages[1].fallback) == (team, [one], ["security"])
        assert made.duration_days == 24
        told = Event.objects.get(act="template.created").data["stages"]
        assert [each["reviewer_rule"] for each in told] == ["group", "pool"]

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"reviewer_rule": "dice"}, "reviewer_rule"),
            ({"reviewer_rule": "group"}, "group"),
            ({"fallback": ["group"]}, "group"),
            ({"fallback": ["pool"]}, "fallback"),
            ({"fallback": ["security", "security"]}, "fallback"),
            ({"fallback": ["fate"]}, "fallback"),
            ({"strategy": "louder"}, "strategy"),
            ({"reviewers_per_item": 6}, "reviewers_per_item"),
            ({"duration_days": 0}, "duration_days"),
            ({"colour": "red"}, "colour"),
        ],
    )
    def test_what_is_wrong_is_told_at_the_field_of_its_stage(self, wrong, field):
        assert set(refused(stages=[{}, wrong])) == {f"stages.2.{field}"}

    def test_a_pool_that_is_smaller_than_what_is_asked_of_it(self):
        one = make.person("reviewer")
        assert set(refused(stages=[{"reviewers": [one], "reviewers_per_item": 2}])) == {"stages.1.reviewers"}

    def test_between_one_and_four(self):
        assert set(refused(stages=[])) == {"stages"}
        assert set(refused(stages=[{}] * 5)) == {"stages"}

    def test_everything_wrong_is_told_at_once(self):
        found = refused(name=" ", cadence_days=1, challenge_days=99, stages=[{"strategy": "x"}])
        assert set(found) == {"name", "cadence_days", "challenge_days", "stages.1.strategy"}

    def test_a_secret_in_a_name_is_refused_and_not_repeated(self):
        key = "AKIA" + "IOSFODNN7EXAMPLQ"
        with pytest.raises(SecretRefused) as error:
            make.template(stages=[{"name": key}])
        assert set(error.value.fields) == {"stages.1.name"}
        assert key not in str(error.value.fields)


class TestTemplates:
    def test_only_one_says_how_changes_are_reviewed(self):
        first = make.template(for_changes=True)
        assert set(refused(for_changes=True)) == {"for_changes"}
        reviews.update_template(actor=make.acting(first.owner), template=first, enabled=False)
        assert make.template(for_changes=True).for_changes

    def test_a_ladder_keeps_only_what_differs(self):
        other = [{"day": 0, "act": "escalate"}, {"day": 5, "act": "suspend"}]
        made = make.template(ladder={"critical": other, "high": LADDERS["high"]})
        assert made.ladder == {"critical": other}
        assert "ladder.low" in refused(ladder={"low": [{"day": 0, "act": "remind"}]})

    def test_other_kinds_ask_the_scope_again(self):
        made = make.template(kinds=["server"], scope={"tool_class": ["write"]})
        with pytest.raises(Invalid) as error:
            reviews.update_template(actor=make.acting(made.owner), template=made, kinds=["server", "agent"])
        assert "scope" in error.value.fields

    def test_two_tabs_cannot_overwrite_each_other(self):
        made = make.template()
        by = make.acting(made.owner)
        seen = made.etag
        reviews.update_template(actor=by, template=made, instructions="Look closely.", expected_version=seen)
        with pytest.raises(Changed):
            reviews.update_template(actor=by, template=made, instructions="Or not.", expected_version=seen)


# --- The form --------------------------------------------------------------------------------------------


def sent(**changes) -> dict:
    """What a browser sends from an untouched form, with these answers."""
    form = {
        "stages": 1,
        "name": "Quarterly",
        "kinds": ["server", "grant"],
        "cadence_days": 90,
        "challenge_days": 0,
        "grouping": "server",
        "enabled": "on",
        **{f"stages.1.{name}": value for name, value in STAGE.items()},
    }
    for tier, rungs in LADDERS.items():
        for index, act in enumerate(("remind", "deputy", "escalate", "suspend", "lapse", "revoke")):
            form[f"ladder.{tier}_{index}"] = ", ".join(str(r["day"]) for r in rungs if r["act"] == act)
    return form | changes


class TestForm:
    new = property(lambda self: reverse("reviews:template_new"))

    def test_saves_what_was_sent_and_leads_to_the_preview(self, web, manager):
        team, one = make.team(), make.person("reviewer")
        facts = sent(
            **{
                "stages": 2,
                "scope.tier": ["critical", "high"],
                "scope.team": [team.slug],
                "stages.1.reviewers": [one.pk],
                "stages.1.fallback_0": "security",
                "stages.1.fallback_1": "",
                "stages.2.reviewer_rule": "team_lead",
                "stages.2.reviewers_per_item": 1,
                "stages.2.strategy": "one_deny_denies",
                "stages.2.duration_days": 7,
                "risk_analysis": "Nothing changes between two closings.",
                "rolling": "on",
            }
        )
        saved = web(manager).post(self.new, facts)
        made = Template.objects.get()
        assert saved["Location"] == reverse("reviews:launch", args=[made.pk])
        assert made.scope == {"tier": ["critical", "high"], "team": [str(team.pk)]}
        assert (made.ladder, made.rolling, made.owner) == ({}, True, manager)
        first, second = made.stages.order_by("position")
        assert (list(first.reviewers.all()), first.fallback) == ([one], ["security"])
        assert (second.reviewer_rule, second.strategy, second.duration_days) == ("team_lead", "one_deny_denies", 7)

    def test_shows_a_template_as_it_is_and_saving_it_untouched_changes_nothing(self, web, manager):
        team = make.team(make.person())
        made = make.template(
            owner=manager,
            kinds=["server"],
            scope={"team": [str(team.pk)], "q": "sql"},
            stages=[{"reviewer_rule": "group", "group": team}, {"fallback": ["security", "team_lead"]}],
            ladder={"low": [{"day": 3, "act": "lapse"}]},
        )
        form = TemplateForm(initial=TemplateForm.initial_of(made))
        assert form["scope.team"].value() == [team.slug]
        assert form["scope.q"].value() == "sql"
        assert form["stages.2.fallback"].value() == ["security", "team_lead"]
        page = web(manager).get(reverse("reviews:template_edit", args=[made.pk])).text
        assert re.search(rf'<option value="{team.pk}" selected>', page)
        assert re.search(r'name="ladder.low_4" value="3"', page)
        assert re.search(rf'value="{team.slug}" checked', page)

    def test_an_error_stands_at_its_field_and_nothing_is_lost(self, web, manager):
        answer = web(manager).post(
            self.new, sent(**{"name": "", "stages.1.reviewer_rule": "group", "instructions": "Mind."})
        )
        assert answer.status_code == 422
        answer = web(manager).post(
            self.new, sent(**{"stages.1.reviewer_rule": "group", "instructions": "Mind the closing."})
        )
        assert answer.status_code == 422
        assert 'href="#id_stages.1.group"' in answer.text
        assert re.search(r'name="stages.1.reviewer_rule" value="group"[^>]*checked', answer.text)
        assert "Mind the closing." in answer.text
        assert not Template.objects.exists()

    def test_the_ladder_is_judged_row_by_row(self, web, manager):
        answer = web(manager).post(self.new, sent(**{"ladder.critical_3": "soon"}))
        assert answer.status_code == 422
        assert "Give days as numbers" in answer.text
        assert 'value="soon"' in answer.text
        answer = web(manager).post(self.new, sent(**{"ladder.low_4": ""}))
        assert "silence keeps nothing" in answer.text
        saved = web(manager).post(self.new, sent(**{"ladder.medium_4": "", "ladder.medium_3": "9"}))
        assert saved.status_code == 302
        assert list(Template.objects.get().ladder) == ["medium"]

    def test_stages_are_added_and_removed_without_a_script(self, web, manager):
        client = web(manager)
        page = client.post(self.new, sent(rearrange="add", name="", instructions="Kept"))
        assert page.status_code == 200, "nothing is judged yet"
        assert "Stage 2" in page.text
        assert "Kept" in page.text
        assert 'role="alert"' not in page.text
        two = sent(**{"stages": 2, **{f"stages.2.{k}": v for k, v in STAGE.items()}, "stages.2.name": "Second"})
        page = client.post(self.new, {**two, "rearrange": "remove.1"}).text
        assert "Stage 2" not in page
        assert re.search(r'name="stages.1.name" value="Second"', page)
        assert "Stage 1" in client.post(self.new, {**sent(), "rearrange": "remove.1"}).text, "one stays"
        four = sent(stages=4)
        assert "Stage 5" not in client.post(self.new, {**four, "rearrange": "add"}).text
        changed = sent(**{"ladder.low_4": "77"})
        assert 'value="77"' not in client.post(self.new, {**changed, "rearrange": "ladder"}).text
        assert not Template.objects.exists()

    def test_starts_with_the_filter_of_a_list(self, web, manager):
        team = make.team(name="Data platform")
        page = (
            web(manager)
            .get(self.new, {"kinds": "server", "tier": "critical", "team": team.slug, "tool_class": "write"})
            .text
        )
        for name, value in (("tier", "critical"), ("team", team.slug), ("tool_class", "write")):
            assert re.search(rf'name="scope.{name}" value="{value}" checked', page), name

    @pytest.mark.parametrize(
        ("listed", "query", "kinds"),
        [
            ("catalog:servers", {"tier": "critical", "older": "x"}, {"server"}),
            ("catalog:agents", {"kind": "ai_agent"}, {"agent"}),
            ("trust:relationships", {"environment": "production"}, {"grant", "connection"}),
            ("trust:relationships", {"kind": "grant"}, {"grant"}),
        ],
    )
    def test_lists_offer_to_review_exactly_what_they_show(self, web, manager, listed, query, kinds):
        client = web(manager)
        without_cursor = {name: value for name, value in query.items() if name != "older"}
        page = client.get(reverse(listed), without_cursor).text
        offered = re.search(rf'href="({self.new}\?[^"]+)"', page)
        assert offered is not None
        form = client.get(html.unescape(offered[1])).text
        assert set(re.findall(r'name="kinds" value="(\w+)"[^>]*checked', form)) == kinds
        for name, value in query.items():
            if name in ("tier", "environment"):
                assert re.search(rf'name="scope.{name}" value="{value}" checked', form), name
        assert self.new not in web(make.person()).get(reverse(listed), without_cursor).text

    def test_without_a_reason_a_rare_review_of_critical_things_is_not_switched_on(self, web, manager):
        day = (clock.today() + timedelta(days=3)).isoformat()
        client = web(manager)
        off = sent(next_run_on=day)
        del off["enabled"]
        assert client.post(self.new, off).status_code == 302
        made = Template.objects.get()
        url = reverse("reviews:template_edit", args=[made.pk])
        on = sent(next_run_on=day, version=made.etag)
        refused = client.post(url, on)
        assert refused.status_code == 422
        assert 'href="#id_risk_analysis"' in refused.text
        assert "Write down why every 90 days is often enough for what is critical" in html.unescape(refused.text)
        assert client.post(url, on | {"risk_analysis": "Every change is reviewed at once."}).status_code == 302
        made.refresh_from_db()
        assert made.enabled

    def test_a_filter_that_no_longer_fits_stays_in_sight(self, web, manager):
        wrong = sent(**{"kinds": ["server", "agent"], "scope.tool_class": ["write"]})
        answer = web(manager).post(self.new, wrong)
        assert answer.status_code == 422
        assert re.search(r'name="scope.tool_class" value="write" checked', answer.text)

    def test_counts_what_is_in_scope(self, web, manager):
        server = make.active_server()
        make.grant(server=server)
        count = reverse("reviews:template_count")
        assert "<b>2</b> in scope now" in web(manager).get(count, sent()).text
        assert "<b>1</b> in scope now" in web(manager).get(count, sent(kinds=["grant"])).text
        assert "<b>0</b> in scope now" in web(manager).get(count, {**sent(), "scope.tier": "critical"}).text
        assert web(make.person()).get(count, sent()).status_code == 403


class TestLaunchPage:
    def test_says_what_would_happen(self, web, manager):
        server = make.active_server()
        type(server).objects.filter(pk=server.pk).update(tier="critical")
        made = make.template(
            owner=manager, kinds=["server"], stages=[{"duration_days": 10}, {"reviewer_rule": "security"}]
        )
        make.person("reviewer", name="Rita Reviewer")
        url = reverse("reviews:launch", args=[made.pk])
        page = web(manager).get(url).text
        assert "Rita Reviewer" in page
        assert "suspended 2 days after the deadline, revoked 30 days after the deadline" in page
        assert "Nothing says why this often is enough" in page
        assert "Stage 2" in page
        reviews.update_template(
            actor=make.acting(manager), template=made, risk_analysis="Critical ones are reviewed when they change."
        )
        assert "Nothing says why this often is enough" not in web(manager).get(url).text

    def test_a_scope_that_means_nothing_any_more_leads_back_to_its_form(self, web, manager):
        made = make.template(owner=manager, kinds=["server"])
        Template.objects.filter(pk=made.pk).update(scope={"tier": ["enormous"]})
        answer = web(manager).get(reverse("reviews:launch", args=[made.pk]))
        assert answer["Location"] == reverse("reviews:template_edit", args=[made.pk])

    def test_the_list_of_templates_costs_the_same_for_any_length(self, web, manager, django_assert_num_queries):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        url, client = reverse("reviews:templates"), web(manager)
        make.template(owner=manager)
        client.get(url)
        with CaptureQueriesContext(connection) as few:
            client.get(url)
        for _ in range(4):
            make.template(owner=manager, stages=[{}, {}])
        with django_assert_num_queries(len(few)):
            client.get(url)


class TestRest:
    root = "/api/v1/templates"

    def test_stages_scope_and_preview(self, api, manager):
        make.active_server()
        one = make.person("reviewer")
        client = api(manager)
        facts = {
            "name": "Q",
            "kinds": ["server"],
            "scope": {"tool_class": ["write", "read"], "q": ""},
            "stages": [{"reviewers": [str(one.pk)]}, {"reviewer_rule": "security", "name": "Security"}],
            "challenge_days": 5,
            "risk_analysis": "Quiet systems.",
            "ladder": {"low": [{"day": 4, "act": "lapse"}]},
        }
        made = client.post(self.root, facts)
        assert made.status_code == 201, made.json()
        body = made.json()
        assert (body["scope"], body["challenge_days"]) == ({"tool_class": ["read", "write"]}, 5)
        assert [stage["reviewer_rule"] for stage in body["stages"]] == ["pool", "security"]
        assert body["ladder"] == facts["ladder"]
        shown = client.get(f"{self.root}/{body['id']}/preview").json()
        assert (shown["total"], shown["items"], shown["shares"][0]["items"]) == (1, 1, 1)

    def test_a_missing_risk_analysis_is_told_at_its_field(self, api, manager):
        client, day = api(manager), (clock.today() + timedelta(days=3)).isoformat()
        made = client.post(self.root, {"name": "Q", "kinds": ["server"], "next_run_on": day, "enabled": False})
        assert made.status_code == 201
        url = f"{self.root}/{made.json()['id']}"
        refused = client.patch(url, {"enabled": True}, headers={"If-Match": made["ETag"]})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/risk_analysis")
        refused = client.post(self.root, {"name": "R", "kinds": ["server"], "next_run_on": day})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/risk_analysis")

    def test_a_misspelt_filter_is_refused_instead_of_answering_everything(self, api, manager):
        told = api(manager).post(self.root, {"name": "Q", "kinds": ["server"], "scope": {"teir": ["low"]}})
        assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/scope")

    def test_errors_name_stage_and_field(self, api, manager):
        facts = {"name": "Q", "kinds": ["server"], "stages": [{"reviewer_rule": "group"}]}
        told = api(manager).post(self.root, facts)
        assert (told.status_code, told.json()["errors"][0]["pointer"]) == (422, "/stages/1/group")
