"""Two people give and take the roles that oversee others; an emergency role ends, is seen and is reviewed."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from registry.accounts import services
from registry.accounts.models import Elevation, GroupRole, RoleProposal, Team, User
from registry.audit.models import Event
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, NotIndependent, SecretRefused, StepUpRequired
from registry.core.permissions import allows
from tests.factories import acting, bearer, emergency_role, person, role_proposal

pytestmark = pytest.mark.django_db
REASON = "The provider is down and the key has to be rotated."


def roles_of(user: User) -> list[str]:
    return User.objects.values_list("roles", flat=True).get(pk=user.pk)


def deeds(user: User) -> list[str]:
    return list(Event.objects.filter(subject_id=user.pk).order_by("id").values_list("act", flat=True))


@pytest.fixture
def two():
    return person("administrator"), person("administrator")


class TestTwoPeople:
    @pytest.mark.parametrize("role", ["security", "auditor", "administrator"])
    def test_a_role_that_oversees_others_waits_for_a_second_person(self, two, role):
        first, second = two
        ines = person()
        services.set_roles(actor=acting(first), user=ines, roles=["member", role])
        assert roles_of(ines) == ["member"]
        proposal = RoleProposal.objects.get(user=ines)
        services.decide_roles(actor=acting(second), proposal=proposal, confirm=True)
        assert roles_of(ines) == ["member", role]
        assert deeds(ines) == ["user.roles_proposed", "user.roles_confirmed", "user.roles_set"]

    def test_taking_one_away_waits_too(self, two):
        sam = person("member", "security")
        services.set_roles(actor=acting(two[0]), user=sam, roles=["member"])
        assert "security" in roles_of(sam)

    def test_other_roles_are_given_at_once(self, two):
        ines = person()
        services.set_roles(actor=acting(two[0]), user=ines, roles=["member", "reviewer"])
        assert roles_of(ines) == ["member", "reviewer"]

    def test_a_new_account_is_no_way_around(self, two):
        made = services.create_user(
            actor=acting(two[0]), email="second@example.test", name="Second", roles=["member", "administrator"]
        )
        assert roles_of(made) == ["member"]
        assert RoleProposal.objects.get(user=made).roles == ["member", "administrator"]

    def test_whoever_proposed_it_or_gets_it_cannot_confirm(self, two):
        sam = person("member", "security")
        services.set_roles(actor=acting(two[0]), user=sam, roles=["member", "security", "administrator"])
        proposal = RoleProposal.objects.get()
        for barred in (two[0], sam):
            with pytest.raises(NotIndependent):
                services.decide_roles(actor=acting(barred), proposal=proposal, confirm=True)
        assert "administrator" not in roles_of(sam)

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "auditor"])
    def test_only_security_and_administrators_decide(self, role):
        with pytest.raises(NotAllowed):
            services.decide_roles(actor=acting(person(role)), proposal=role_proposal(), confirm=False)

    def test_nobody_gives_themselves_a_role(self, two):
        with pytest.raises(NotIndependent, match="themselves"):
            services.set_roles(actor=acting(two[0]), user=two[0], roles=["administrator", "reviewer"])

    def test_the_only_administrator_of_a_demo_decides_alone_and_the_evidence_says_so(self):
        alone = person("administrator")
        services.set_roles(actor=acting(alone), user=alone, roles=["administrator", "security"])
        assert roles_of(alone) == ["administrator", "security"]
        assert Event.objects.get(act="user.roles_set").data["alone"] is True

    def test_elsewhere_security_is_the_second_person(self, settings):
        settings.EMBEDDED = False
        admin, security, ines = person("administrator"), person("security"), person()
        services.set_roles(actor=acting(admin), user=ines, roles=["auditor"])
        assert roles_of(ines) == ["member"]
        services.decide_roles(actor=acting(security), proposal=RoleProposal.objects.get(), confirm=True)
        assert roles_of(ines) == ["auditor"]

    def test_it_is_settled_once(self, two):
        proposal = role_proposal(by=two[0])
        services.decide_roles(actor=acting(two[0]), proposal=proposal, confirm=False)
        proposal.refresh_from_db()
        assert proposal.state == "withdrawn"
        with pytest.raises(Conflict):
            services.decide_roles(actor=acting(two[1]), proposal=proposal, confirm=True)

    def test_who_proposed_it_must_still_be_an_administrator(self, two):
        proposal = role_proposal(by=two[0])
        User.objects.filter(pk=two[0].pk).update(roles=["member"])
        with pytest.raises(Conflict):
            services.decide_roles(actor=acting(two[1]), proposal=proposal, confirm=True)

    def test_an_old_session_confirms_first(self, two):
        old = Actor.person(two[1], authenticated_at=timezone.now() - timedelta(hours=2))
        with pytest.raises(StepUpRequired):
            services.decide_roles(actor=old, proposal=role_proposal(by=two[0]), confirm=True)

    def test_on_the_page(self, web, two):
        ines = person(name="Ines")
        page = reverse("accounts:person", args=[ines.pk])
        asked = web(two[0]).post(
            reverse("accounts:roles", args=[ines.pk]), {"roles": ["member", "auditor"]}, follow=True
        )
        assert "Proposed" in asked.content.decode()
        decide = reverse("accounts:decide_roles", args=[RoleProposal.objects.get().pk])
        assert 'value="confirm"' not in web(two[0]).get(page).content.decode()
        assert 'value="confirm"' in web(two[1]).get(page).content.decode()
        assert "Proposed roles" not in web(person()).get(page).content.decode()
        assert web(person()).post(decide, {"decision": "confirm"}).status_code == 404
        assert web(two[0]).post(decide, {"decision": "confirm"}).status_code == 403
        assert web(two[1]).post(decide, {"decision": "confirm"}).status_code == 302
        assert roles_of(ines) == ["member", "auditor"]

    def test_over_rest(self, api, two):
        ines = person()
        answer = api(two[0]).put(f"/api/v1/users/{ines.pk}/roles", {"roles": ["auditor"]})
        assert (answer.status_code, answer.json()["state"]) == (202, "proposed")
        assert roles_of(ines) == ["member"]
        listed = api(two[1]).get("/api/v1/role-proposals?state=proposed").json()["results"]
        url = f"/api/v1/role-proposals/{listed[0]['id']}"
        assert api(two[0]).post(f"{url}/confirm").status_code == 403
        assert api(two[1]).post(f"{url}/confirm", HTTP_IF_MATCH='"old.1"').status_code == 412
        assert api(two[1]).post(f"{url}/confirm").json()["state"] == "confirmed"
        assert roles_of(ines) == ["auditor"]


class TestGroupsThatGivePowers:
    """A group of the identity provider is no way around the second person."""

    @pytest.fixture
    def dora(self):
        """Somebody whom the directory says to be of the group."""
        return services.grant_group_roles(user=person(name="Dora"), provider="scim", groups=["watch"])

    def propose(self, by: User, role: str = "security") -> GroupRole:
        return services.map_group(actor=acting(by), group="watch", role=role, provider="scim")

    def story(self) -> list[str]:
        return list(Event.objects.filter(act__startswith="group_role.").order_by("id").values_list("act", flat=True))

    @pytest.mark.parametrize("role", ["security", "auditor", "administrator"])
    def test_it_gives_nothing_until_a_second_person_confirms(self, two, dora, role):
        mapping = self.propose(two[0], role)
        assert (mapping.state, roles_of(dora)) == ("proposed", ["member"])
        newcomer = services.grant_group_roles(user=person(), provider="scim", groups=["watch"])
        assert role not in newcomer.roles, "nor at the next sign-in"
        services.decide_group_role(actor=acting(two[1]), mapping=mapping, confirm=True)
        assert role in roles_of(dora) and role in roles_of(newcomer)
        assert self.story() == ["group_role.proposed", "group_role.created"]
        event = Event.objects.get(act="group_role.created")
        assert (event.data["proposed_by"], event.actor_id) == (str(two[0].pk), two[1].pk)

    def test_security_confirms_too(self, two, dora):
        services.decide_group_role(actor=acting(person("security")), mapping=self.propose(two[0]), confirm=True)
        assert "security" in roles_of(dora)

    def test_whoever_proposed_it_or_would_get_it_cannot_confirm(self, two, dora):
        mapping = self.propose(two[0])
        with pytest.raises(NotIndependent, match="proposed this"):
            services.decide_group_role(actor=acting(two[0]), mapping=mapping, confirm=True)
        User.objects.filter(pk=dora.pk).update(roles=["administrator"])
        with pytest.raises(NotIndependent, match="in this group"):
            services.decide_group_role(actor=acting(User.objects.get(pk=dora.pk)), mapping=mapping, confirm=True)
        assert "security" not in roles_of(dora)

    def test_nobody_gives_themselves_a_role_by_their_own_group(self, two):
        services.grant_group_roles(user=two[0], provider="scim", groups=["watch"])
        for role in ("security", "reviewer"):
            with pytest.raises(NotIndependent, match="in this group"):
                self.propose(two[0], role)

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "auditor"])
    def test_others_do_not_decide(self, two, role):
        with pytest.raises(NotAllowed):
            services.decide_group_role(actor=acting(person(role)), mapping=self.propose(two[0]), confirm=True)

    def test_its_end_waits_too(self, two, dora):
        mapping = GroupRole.objects.create(provider="scim", group="watch", role="security")
        services.grant_group_roles(user=dora, provider="scim", groups=["watch"])
        assert services.unmap_group(actor=acting(two[0]), mapping=mapping).state == "ending"
        assert "security" in roles_of(dora)
        with pytest.raises(Conflict):
            services.unmap_group(actor=acting(two[1]), mapping=mapping)
        with pytest.raises(NotIndependent):
            services.decide_group_role(actor=acting(two[0]), mapping=mapping, confirm=True)
        assert services.decide_group_role(actor=acting(two[1]), mapping=mapping, confirm=True) is None
        assert "security" not in roles_of(dora) and not GroupRole.objects.exists()
        assert self.story() == ["group_role.removal_proposed", "group_role.deleted"]

    def test_refused_or_withdrawn_it_stays_as_it_was(self, two, dora):
        mapping = self.propose(two[0])
        assert services.decide_group_role(actor=acting(two[1]), mapping=mapping, confirm=False) is None
        assert not GroupRole.objects.exists()
        mapping = GroupRole.objects.create(provider="scim", group="watch", role="security")
        services.unmap_group(actor=acting(two[0]), mapping=mapping)
        kept = services.decide_group_role(actor=acting(two[0]), mapping=mapping, confirm=False)
        assert (kept.state, kept.proposed_by) == ("active", None)
        assert self.story()[1:] == ["group_role.refused", "group_role.removal_proposed", "group_role.withdrawn"]
        with pytest.raises(Conflict, match="settled"):
            services.decide_group_role(actor=acting(two[1]), mapping=mapping, confirm=True)

    def test_who_proposed_it_must_still_be_an_administrator(self, two):
        mapping = self.propose(two[0])
        User.objects.filter(pk=two[0].pk).update(roles=["member"])
        with pytest.raises(Conflict, match="no administrator any more"):
            services.decide_group_role(actor=acting(two[1]), mapping=mapping, confirm=True)

    def test_other_roles_are_given_at_once(self, two, dora):
        assert self.propose(two[0], "reviewer").state == "active"
        assert roles_of(dora) == ["member", "reviewer"]

    def test_whoever_is_alone_decides_alone_and_the_evidence_says_so(self, dora):
        assert self.propose(person("administrator")).state == "active"
        assert "security" in roles_of(dora) and Event.objects.get(act="group_role.created").data["alone"] is True

    def test_nobody_adds_people_to_a_group_of_the_directory_by_hand(self, two):
        team = Team.objects.create(name="watch", slug="watch", provisioned=True)
        with pytest.raises(Conflict, match="directory says"):
            services.set_team(actor=acting(two[0]), team=team, lead=None, members=[two[0]])
        services.set_team(actor=acting(two[0]), team=team, lead=two[0], members=[])

    def test_on_the_page(self, web, two, dora):
        page = reverse("accounts:group_roles")
        asked = web(two[0]).post(page, {"provider": "scim", "group": "watch", "role": "security"}, follow=True)
        assert "Proposed. Another administrator" in asked.content.decode()
        decide = reverse("accounts:decide_group_role", args=[GroupRole.objects.get().pk])
        own, other = (web(each).get(page).content.decode() for each in two)
        assert 'value="confirm"' not in own and "Withdraw" in own
        assert 'value="confirm"' in other and "it gives nothing until a second person confirms it" in other
        assert decide not in web(person("auditor")).get(page).content.decode()
        assert web(person()).post(decide, {"decision": "confirm"}).status_code == 404
        assert web(two[0]).post(decide, {"decision": "confirm"}).status_code == 403
        assert web(person("security")).post(decide, {"decision": "confirm"})["Location"] == page
        assert "security" in roles_of(dora)
        removed = web(two[0]).post(reverse("accounts:unmap_group", args=[GroupRole.objects.get().pk]), follow=True)
        assert "It goes once another" in removed.content.decode() and "wants to remove this" in removed.content.decode()

    def test_over_rest(self, api, two, dora):
        made = api(two[0]).post("/api/v1/group-roles", {"group": "watch", "role": "security"})
        assert (made.status_code, made.json()["state"]) == (201, "proposed")
        url = f"/api/v1/group-roles/{made.json()['id']}"
        assert api(two[0]).post(f"{url}/confirm").status_code == 403
        assert api(two[1]).post(f"{url}/confirm", HTTP_IF_MATCH='"old.1"').status_code == 412
        assert api(two[1]).post(f"{url}/confirm").json()["state"] == "active"
        assert "security" in roles_of(dora)
        assert api(two[1]).delete(url).json()["state"] == "ending"
        assert api(two[1]).post(f"{url}/refuse").json()["state"] == "active"
        assert api(two[1]).delete(url).status_code == 200
        assert api(two[0]).post(f"{url}/confirm").status_code == 204
        assert "security" not in roles_of(dora)


class TestEmergency:
    def test_it_gives_the_role_in_browsers_only_and_ends_at_its_instant(self, monkeypatch):
        sam = person("security")
        taken = emergency_role(sam, "administrator", hours=1)
        sam.refresh_from_db()
        assert allows(acting(sam), "accounts.manage_people")
        assert not Actor("token", user=sam, scopes=frozenset({"accounts:write"})).has_role("administrator")
        later = taken.ends_at
        monkeypatch.setattr(clock, "now", lambda: later)
        assert not allows(acting(sam), "accounts.manage_people")

    def test_it_says_that_it_ran_out(self, monkeypatch):
        taken = emergency_role()
        later = taken.ends_at + timedelta(minutes=5)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert (services.end_due_roles(), services.end_due_roles()) == (1, 0)
        taken.refresh_from_db()
        assert (taken.ended_at, taken.ended_by) == (taken.ends_at, None)
        assert deeds(taken.user) == ["user.emergency_role_taken", "user.emergency_role_ended"]

    @pytest.mark.parametrize("role", ["member", "reviewer", "campaign_manager", "auditor"])
    def test_only_who_was_named_takes_one(self, role):
        with pytest.raises(NotAllowed):
            services.take_role(actor=acting(person(role)), role="security", reason=REASON)

    def test_the_organisation_names_them(self, settings):
        settings.BREAK_GLASS_ROLES = []
        with pytest.raises(NotAllowed):
            services.take_role(actor=acting(person("administrator")), role="security", reason=REASON)

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"hours": 5}, "hours"), ({"hours": 0}, "hours"), ({"reason": " "}, "reason"),
            ({"role": "security"}, "role"), ({"role": "root"}, "role"),
        ],
    )  # fmt: skip
    def test_what_it_refuses(self, facts, field):
        with pytest.raises(Invalid) as refused:
            services.take_role(actor=acting(person("security")), **{"role": "auditor", "reason": REASON, **facts})
        assert set(refused.value.fields) == {field}

    def test_no_secret_in_its_reason(self):
        with pytest.raises(SecretRefused):
            services.take_role(
                actor=acting(person("security")), role="auditor", reason="Key ghp_abcdefghijklmnopqrstuvwxyz0123456789"
            )

    def test_it_needs_a_recent_proof_of_who_one_is(self):
        old = Actor.person(person("security"), authenticated_at=timezone.now() - timedelta(hours=2))
        with pytest.raises(StepUpRequired):
            services.take_role(actor=old, role="auditor", reason=REASON)

    def test_one_at_a_time(self):
        sam = person("security")
        emergency_role(sam)
        with pytest.raises(Conflict):
            emergency_role(sam, "reviewer")

    def test_security_and_administrators_are_told_once(self):
        sam, admin, _other = person("security"), person("administrator"), person()
        emergency_role(sam)
        assert (services.alarm(), services.alarm()) == (1, 0)
        [letter] = mail.outbox
        assert set(letter.to) == {sam.email, admin.email}
        assert "identity provider is down" in letter.body

    def test_a_mail_server_that_is_down_leaves_it_for_later(self, monkeypatch):
        emergency_role()
        with monkeypatch.context() as down:
            down.setattr("registry.accounts.services.emergency.send_mail", _fail)
            assert services.alarm() == 0
        assert services.alarm() == 1

    def test_whoever_took_it_gives_it_back_and_others_do_not(self):
        sam = person("security")
        taken = emergency_role(sam)
        with pytest.raises(NotAllowed):
            services.end_role(actor=acting(person("auditor")), elevation=taken)
        services.end_role(actor=acting(sam), elevation=taken)
        sam.refresh_from_db()
        assert acting(sam).roles == {"security"}

    def test_somebody_else_reviews_it_when_it_has_ended(self):
        sam, other = person("security"), person("security")
        taken = emergency_role(sam)
        with pytest.raises(Conflict, match="still runs"):
            services.review_role(actor=acting(other), elevation=taken, finding="Nothing odd.")
        services.end_role(actor=acting(sam), elevation=taken)
        with pytest.raises(NotIndependent):
            services.review_role(actor=acting(sam), elevation=taken, finding="Nothing odd.")
        with pytest.raises(NotAllowed):
            services.review_role(actor=acting(person("auditor")), elevation=taken, finding="Nothing odd.")
        services.review_role(actor=acting(other), elevation=taken, finding="Nothing odd.")
        assert Elevation.objects.get().finding == "Nothing odd."
        with pytest.raises(Conflict, match="already"):
            services.review_role(actor=acting(other), elevation=taken, finding="Again.")

    def test_it_stands_above_every_page_of_security(self, web):
        sam = person("administrator", name="Sami")
        emergency_role(sam, "auditor")
        words = re.compile(r"Sami has the emergency role Auditor until")
        for page in (reverse("accounts:people"), reverse("portal:home")):
            assert words.search(web(person("security")).get(page).content.decode())
            assert "You have the emergency role" in web(sam).get(page).content.decode()
            assert "emergency role" not in web(person()).get(page).content.decode()

    def test_on_the_page(self, web):
        sam, other = person("security"), person("security")
        page = reverse("accounts:emergency")
        asked = {"role": "administrator", "hours": "2", "reason": REASON}
        assert web(person()).post(page, asked).status_code == 403
        assert web(sam).post(page, {**asked, "reason": ""}).status_code == 422
        assert web(sam).post(page, asked).status_code == 302
        taken = Elevation.objects.get()
        assert f"actor_id={sam.pk}" in web(other).get(page).content.decode()
        assert REASON not in web(person()).get(page).content.decode()
        assert web(person()).post(reverse("accounts:end_emergency", args=[taken.pk])).status_code == 404
        assert web(other).post(reverse("accounts:end_emergency", args=[taken.pk])).status_code == 302
        review = reverse("accounts:review_emergency", args=[taken.pk])
        assert web(other).post(review, {"finding": ""}).status_code == 422
        assert web(other).post(review, {"finding": "Only the key was rotated."}).status_code == 302
        assert "Only the key was rotated." in web(sam).get(page).content.decode()

    def test_over_rest(self, web, api):
        sam, other = person("security"), person("security")
        asked = {"role": "auditor", "reason": REASON, "hours": 1}
        assert api(sam).post("/api/v1/emergency-roles", asked).status_code == 403
        emergency_role(sam)
        url = f"/api/v1/emergency-roles/{Elevation.objects.get().pk}"
        assert web().get(url, **bearer(person())).status_code == 404
        assert api(other).post(f"{url}/end").json()["is_open"] is False
        assert api(sam).post(f"{url}/review", {"finding": "Fine."}).status_code == 403
        assert api(other).post(f"{url}/review", {"finding": "Fine."}).json()["finding"] == "Fine."


def _fail(*_args, **_facts):
    raise OSError
