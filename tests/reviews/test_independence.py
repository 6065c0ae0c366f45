"""Nobody reviews what is theirs: a property over random ownership, at the start and after it changed."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.accounts.models import User
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.errors import NotIndependent
from registry.core.independence import bars
from registry.reviews import services as reviews
from registry.reviews.assignment import Assigner, next_reviewers, reviewers_for
from registry.reviews.barred import barred
from registry.reviews.models import Delegation, Item, WorkItem
from registry.reviews.population import REVIEWED
from registry.trust.models import Connection, Grant
from tests import factories as make

PEOPLE = [User(id=UUID(int=n), email=f"p{n}@example.test", name=f"P{n}", roles=["reviewer"]) for n in range(1, 7)]

people = st.sampled_from(PEOPLE)
stakes = st.dictionaries(people.map(lambda user: user.pk), st.just(["owns it"]), max_size=6)
subjects = st.lists(stakes, min_size=1, max_size=25)
pools = st.lists(people, unique=True, max_size=6)


def stage(pool=(), rule="pool", fallback=(), wanted=1, **more_pools):
    """A stage as a campaign keeps it."""
    frozen = {name: [[str(user.pk), 0] for user in members] for name, members in {"pool": pool, **more_pools}.items()}
    return {
        "reviewer_rule": rule,
        "fallback": list(fallback),
        "group": None,
        "pools": frozen,
        "reviewers_per_item": wanted,
    }


def assigner(*args, given=None, away=None, **facts):
    return Assigner(stage(*args, **facts), {user.pk: user for user in PEOPLE}, given=given, away=away)


@given(
    subjects=subjects,
    pool=pools,
    named=st.lists(people, max_size=3),
    wanted=st.integers(1, 5),
    away=st.dictionaries(people.map(lambda user: user.pk), people.map(lambda user: user.pk), max_size=3),
)
def test_chosen_reviewers_are_independent_and_different_and_nobody_is_passed_over(subjects, pool, named, wanted, away):
    away = {person: stand_in for person, stand_in in away.items() if person != stand_in}
    one = assigner(pool, "system_owner", ["pool"], wanted, away=away)
    asked = {user.pk for user in (*pool, *named)}
    for barred_here in subjects:
        choices = one.choose("grant", named={"provider": [(user.pk, "Stock") for user in named]}, barred=barred_here)
        chosen = [choice.reviewer.pk for choice in choices]
        assert len(set(chosen)) == len(chosen) <= wanted
        for choice in choices:
            assert choice.reviewer.pk not in barred_here
            assert choice.meant.pk not in barred_here and choice.meant.pk in asked
            assert choice.reviewer.pk not in away, "somebody who is away was asked"
            assert (choice.original is not None) == (choice.meant.pk in away)
        if len(chosen) < wanted:
            present = {pk for pk in asked - away.keys() if pk not in barred_here}
            assert present <= set(chosen), "somebody independent was left out"


@given(subjects=subjects, pool=pools, cut=st.integers(0, 25), wanted=st.integers(1, 3))
def test_the_same_subjects_give_the_same_reviewers_also_after_an_interruption(subjects, pool, cut, wanted):
    def run(parts):
        given_out, chosen = {}, []
        for part in parts:
            one = assigner(pool, wanted=wanted, given=given_out)
            chosen += [[c.reviewer.pk for c in one.choose("grant", barred=barred_here)] for barred_here in part]
            given_out = one.given
        return chosen

    assert run([subjects]) == run([subjects[:cut], subjects[cut:]])


@given(pool=st.lists(people, unique=True, min_size=2), count=st.integers(1, 40))
def test_the_pool_shares_the_load_evenly(pool, count):
    one = assigner(pool)
    for _ in range(count):
        one.choose("grant")
    shares = [one.load[user.pk] for user in pool]
    assert max(shares) - min(shares) <= 1


def test_inactive_people_and_people_without_the_role_are_not_asked():
    gone = User(id=UUID(int=90), name="Gone", roles=["reviewer"], is_active=False)
    member = User(id=UUID(int=91), name="Member", roles=["member"])
    one = Assigner(stage([gone, member]), {gone.pk: gone, member.pk: member})
    assert one.choose("server") == []
    assert [choice.reviewer for choice in one.choose("grant")] == [member]


def test_the_words_say_the_rule_and_how_many_are_barred():
    first, second, third, *_ = PEOPLE
    one = assigner([first, second, third])
    (choice,) = one.choose("grant", barred={first.pk: ["owns it"]})
    assert choice.because == "Has the fewest items of 2 independent reviewers in the pool. 1 person is barred."
    (choice,) = one.choose("grant", barred={first.pk: ["owns it"], second.pk: ["requested it"]})
    assert choice.because == "The only independent reviewer in the pool. 2 people are barred."


def test_who_is_away_is_stood_in_for_by_somebody_independent():
    away, stand_in, other, *_ = PEOPLE
    one = assigner([away, other], away={away.pk: stand_in.pk})
    choices = [one.choose("grant")[0] for _ in range(2)]
    assert {choice.reviewer for choice in choices} == {stand_in, other}
    standing = next(choice for choice in choices if choice.reviewer == stand_in)
    assert standing.original == away and standing.because.startswith(f"Stands in for {away.name}, who is away.")
    # Neither for what the absent person may not decide, nor for what the stand-in may not.
    for barred_person in (away, stand_in):
        (choice,) = one.choose("grant", barred={barred_person.pk: ["owns it"]})
        assert choice.reviewer == other


def test_both_sides_are_two_people_with_their_side():
    lead, owner, spare, *_ = PEOPLE
    named = {"consumer": [(lead.pk, "Planning")], "provider": [(owner.pk, "Stock")]}
    one = assigner([spare], "both_sides", ["pool"])
    choices = one.choose("grant", named=named)
    assert [(choice.side, choice.reviewer) for choice in choices] == [("consumer", lead), ("provider", owner)]
    choices = one.choose("grant", named=named, barred={lead.pk: ["owns it"]})
    assert [(choice.side, choice.reviewer) for choice in choices] == [("consumer", spare), ("provider", owner)]
    choices = one.choose("grant", named={"consumer": named["consumer"], "provider": [(lead.pk, "Stock")]})
    assert len({choice.reviewer for choice in choices}) == 2, "one person sat on both sides"


# --- Barred people, many subjects at once ----------------------------------------------------------------


@pytest.mark.django_db
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_database_bars_exactly_whom_each_subject_bars(data):
    """Over random ownership, also of the server behind an agent: the same people for the same reasons."""
    crowd = [make.person("reviewer") for _ in range(4)]
    maybe = st.none() | st.sampled_from(crowd)

    def people_of(*fields):
        return {field: data.draw(maybe) for field in fields}

    def server(lifecycle="draft"):
        made = make.draft()
        around = people_of("owner", "operator", "created_by", "submitted_by")
        deputy = data.draw(st.none() | st.sampled_from([user for user in crowd if user != around["owner"]]))
        Server.objects.filter(pk=made.pk).update(**around, deputy=deputy)
        return made

    reached, behind = server(), server()
    kind = data.draw(st.sampled_from(["server", "workload"]))
    agent = Agent.objects.create(
        name="A", kind=kind, server=behind if kind == "server" else None,
        spiffe_id=f"spiffe://example.test/{uuid4()}", **people_of("owner", "created_by"),
    )  # fmt: skip
    until = clock.now() + timedelta(days=9)
    common = {"server": reached, "reason": "X", "valid_until": until}
    grant = Grant.objects.create(agent=agent, tools=["query"], **common, **people_of("requested_by"))
    link = Connection.objects.create(system=make.system(), access="read", **common, **people_of("requested_by"))
    for name, things in {"server": [reached, behind], "grant": [grant], "connection": [link], "agent": [agent]}.items():
        found = barred(name, [thing.pk for thing in things])
        only = barred(name, [thing.pk for thing in things], among=[crowd[0].pk])
        for thing in REVIEWED[name].model.objects.filter(pk__in=[thing.pk for thing in things]):
            expected = {user.pk: reasons for user in crowd if (reasons := bars(user.pk, thing))}
            assert dict(found.get(thing.pk, {})) == expected
            assert dict(only.get(thing.pk, {})) == {k: v for k, v in expected.items() if k == crowd[0].pk}


@pytest.mark.django_db
class TestNextReviewers:
    def test_whoever_had_the_item_is_not_asked_again_and_a_seat_is_filled_once(self):
        pool = [make.person("reviewer") for _ in range(3)]
        make.active_server()
        campaign = make.campaign(*pool, kinds=["server"], reviewers_per_item=2)
        item = campaign.items.get()
        held = list(item.work_items.all())
        assert len({work.reviewer_id for work in held}) == 2
        assert next_reviewers(item, stage=1) == [], "all seats are taken"
        (choice,) = next_reviewers(item, stage=1, instead_of=held[0])
        assert choice.reviewer.pk not in {work.reviewer_id for work in held}
        assert next_reviewers(item, stage=1, instead_of=held[0], without=[choice.reviewer.pk]) == []

    def test_a_later_stage_has_other_people(self):
        pool = [make.person("reviewer") for _ in range(2)]
        make.active_server()
        campaign = make.campaign(
            kinds=["server"], stages=[{"reviewers": pool}, {"reviewers": pool, "name": "Second look"}]
        )
        item = campaign.items.get()
        (choice,) = reviewers_for([item], stage=2)[item.pk]
        assert choice.reviewer != make.work_of(item).reviewer

    def test_the_campaigns_owner_decides_nothing_in_it(self):
        manager = make.person("campaign_manager", "reviewer")
        make.active_server()
        campaign = make.campaign(manager, kinds=["server"], owner=manager)
        assert campaign.state == "staged"
        assert next_reviewers(campaign.items.get(), stage=1) == []

    def test_who_is_out_of_office_at_launch_is_stood_in_for(self):
        away, stand_in = make.person("reviewer"), make.person("reviewer")
        today = clock.today()
        Delegation.objects.create(delegator=away, delegate=stand_in, starts_on=today, ends_on=today)
        make.active_server()
        held = make.work_of(make.campaign(away, kinds=["server"]).items.get())
        assert (held.reviewer, held.original_reviewer) == (stand_in, away)
        assert held.chosen_because.startswith("Stands in for")


@pytest.mark.django_db
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at_launch=st.sampled_from(["owner", "deputy", "created_by"]),
    later=st.just("submitted_by"),  # an interest that changes no certified fact
    acts=st.sampled_from(["decide", "sign"]),
)
def test_whoever_gets_an_interest_mid_campaign_can_neither_decide_nor_sign(at_launch, later, acts):
    first, second = make.person("reviewer"), make.person("reviewer")
    server = make.active_server()
    Server.objects.filter(pk=server.pk).update(**{at_launch: first})
    campaign = make.campaign(first, second, kinds=["server"], scope={"q": server.name})
    item: Item = campaign.items.get()
    assert make.work_of(item).reviewer == second
    if acts == "sign":
        make.decide(item)
    Server.objects.filter(pk=server.pk).update(**{later: second})
    before = WorkItem.objects.get(item=item).state
    with pytest.raises(NotIndependent):
        make.decide(item) if acts == "decide" else make.sign(campaign, second)
    assert WorkItem.objects.get(item=item).state == before
    with pytest.raises(NotIndependent):
        reviews.reassign_work_item(
            actor=make.acting(campaign.owner), work_item=make.work_of(item), to=first, note="You do it."
        )
