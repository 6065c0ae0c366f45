"""Nobody reviews what is theirs: a property over random ownership, at the start and after it changed."""

from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core.errors import NotIndependent
from registry.core.independence import bars
from registry.reviews import services as reviews
from registry.reviews.assignment import Assigner, Preferred
from registry.reviews.models import Item, WorkItem
from tests import factories as make

PEOPLE = [User(id=UUID(int=n), email=f"p{n}@example.test", name=f"P{n}", roles=["reviewer"]) for n in range(1, 7)]
ROLES = ("owns it", "deputises for its owner", "registered it", "requested it")

people = st.sampled_from(PEOPLE)
ownership = st.dictionaries(st.sampled_from(ROLES), st.none() | people.map(lambda user: user.pk))
subjects = st.lists(ownership, min_size=1, max_size=25)
pools = st.lists(people, unique=True, max_size=6)


def thing(interested):
    return SimpleNamespace(interested=interested, server=None)


@given(subjects=subjects, pool=pools, preferred=st.lists(people, max_size=3))
def test_a_chosen_reviewer_is_always_independent_and_nobody_is_passed_over(subjects, pool, preferred):
    prefer = [Preferred(user, "asked first") for user in preferred]
    assigner = Assigner({user.pk: user for user in pool}, {}, lambda subject: prefer)
    for interested in subjects:
        one = thing(interested)
        choice = assigner.choose(one, kind="grant", subject=one)
        if choice is not None:
            assert bars(choice.reviewer.pk, one) == []
        else:
            assert all(bars(user.pk, one) for user in [*pool, *preferred]), "somebody independent was left out"


@given(subjects=subjects, pool=pools)
def test_the_same_subjects_give_the_same_reviewers_also_after_an_interruption(subjects, pool):
    def run(parts):
        load, chosen = {}, []
        for part in parts:
            assigner = Assigner({user.pk: user for user in pool}, dict(load))
            for interested in part:
                one = thing(interested)
                choice = assigner.choose(one, kind="grant", subject=one)
                chosen.append(choice.reviewer.pk if choice else None)
            load = assigner.load
        return chosen

    middle = len(subjects) // 2
    assert run([subjects]) == run([subjects[:middle], subjects[middle:]])


@given(pool=st.lists(people, unique=True, min_size=2), count=st.integers(1, 40))
def test_the_pool_shares_the_load_evenly(pool, count):
    assigner = Assigner({user.pk: user for user in pool}, {})
    for _ in range(count):
        one = thing({})
        assigner.choose(one, kind="grant", subject=one)
    shares = [assigner.load.get(user.pk, 0) for user in pool]
    assert max(shares) - min(shares) <= 1


def test_inactive_people_and_people_without_the_role_are_not_asked():
    gone = User(id=UUID(int=90), name="Gone", roles=["reviewer"], is_active=False)
    member = User(id=UUID(int=91), name="Member", roles=["member"])
    assigner = Assigner({gone.pk: gone, member.pk: member}, {})
    one = thing({})
    assert assigner.choose(one, kind="server", subject=one) is None
    assert assigner.choose(one, kind="grant", subject=one).reviewer is member


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
