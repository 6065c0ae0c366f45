"""The guard of the fixture `kept` (tests/kept.py)."""

import pytest

from tests.kept import is_transactional, refuse_both, refuse_within


def item_of(request, test):
    return pytest.Function.from_parent(request.node.getparent(pytest.Module), name=test.__name__, callobj=test)


@pytest.mark.django_db(transaction=True)
def marked_and_kept(kept): ...


def through_a_server(live_server, kept): ...


@pytest.mark.django_db
def usual(kept): ...


def alone(transactional_db): ...


@pytest.mark.parametrize("test", [marked_and_kept, through_a_server])
def test_both_at_once_is_an_error_of_the_collection(request, test):
    with pytest.raises(pytest.UsageError, match=test.__name__):
        refuse_both([item_of(request, usual), item_of(request, test)])


def test_each_for_itself_is_none(request):
    refuse_both([item_of(request, usual), item_of(request, alone)])
    assert is_transactional(item_of(request, alone)) and not is_transactional(item_of(request, usual))


@pytest.mark.django_db
def test_a_transactional_test_does_not_start_within_what_is_kept(request, kept):
    refuse_within(item_of(request, usual))
    with pytest.raises(pytest.fail.Exception, match=r"while `kept` of tests/core/test_kept\.py is open"):
        refuse_within(item_of(request, alone))


def test_it_starts_where_nothing_is_kept(request):
    refuse_within(item_of(request, alone))
