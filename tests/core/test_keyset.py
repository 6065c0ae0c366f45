"""Keyset pages: every row once, in order, in both directions, whatever the order column."""

from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import RequestFactory

from registry.accounts.models import User
from registry.core.errors import Malformed
from registry.core.pagination import COUNT_UP_TO, keyset_page

pytestmark = pytest.mark.django_db


@pytest.fixture
def people():
    """Twenty-three people, several of the same name."""
    User.objects.bulk_create(User(email=f"u{n}@example.test", name=f"Name {n // 4}", password="!") for n in range(23))
    return User.objects.all()


def get(url: str):
    return RequestFactory().get(url)


def walk(queryset, order, size=5, start="/people?q=x"):
    """All pages from the first to the last, following `older`."""
    url, pages = start, []
    while url:
        page = keyset_page(queryset, get(url), order=order, size=size)
        pages.append((url, page))
        url = page.older
    return pages


@pytest.mark.parametrize("order", ["-id", "email", ("name", "id"), ("-name", "id"), ("-created_at", "-id")])
def test_every_row_comes_once_and_in_order(people, order):
    columns = [order] if isinstance(order, str) else list(order)
    rows = [user for _, page in walk(people, order) for user in page]
    assert rows == list(people.order_by(*columns))


def test_the_way_back_shows_the_same_pages(people):
    pages = walk(people, ("name", "id"))
    assert pages[0][1].newer is None
    for (_, before), (_, page) in pairwise(pages):
        back = keyset_page(people, get(page.newer), order=("name", "id"), size=5)
        assert back.items == before.items


def test_the_question_stays_in_the_links(people):
    page = keyset_page(people, get("/people?q=a%26b&role=member"), size=5)
    asked = parse_qs(urlsplit(page.older).query)
    assert asked["q"] == ["a&b"] and asked["role"] == ["member"] and "older" in asked
    further = keyset_page(people, get(page.older), size=5)
    assert parse_qs(urlsplit(further.newer).query).keys() == {"q", "role", "newer"}


def test_a_row_that_comes_in_between_does_not_shift_the_pages(people):
    first = keyset_page(people, get("/"), order="-id", size=5)
    User.objects.create(email="late@example.test", name="Late")
    second = keyset_page(people, get(first.older), order="-id", size=5)
    assert not {user.pk for user in first} & {user.pk for user in second}


def test_one_page_has_no_links(people):
    page = keyset_page(people, get("/"), size=50)
    assert (page.older, page.newer, len(page)) == (None, None, 23)


def test_a_page_beyond_the_end_leads_back(people):
    last_url, _ = walk(people, "-id")[-1]
    people.filter(pk__isnull=False)
    empty = keyset_page(people.none(), get(last_url), order="-id")
    assert not empty.items and empty.newer == "/people?q=x"


@pytest.mark.parametrize("cursor", ["x", "bm8", "W10", "WyJub3QtYS11dWlkIl0", "WzEsMl0", "W251bGxd", "eyJhIjoxfQ"])
def test_a_damaged_link_is_refused_not_obeyed(people, cursor):
    with pytest.raises(Malformed):
        keyset_page(people, get(f"/?older={cursor}"))


def test_a_page_costs_one_query_and_one_more_to_count(people, django_assert_num_queries):
    with django_assert_num_queries(1):
        keyset_page(people, get("/"), size=5)
    with django_assert_num_queries(2):
        page = keyset_page(people, get("/"), size=5, count=True)
    assert (page.counted, page.capped) == (23, False)


def test_counting_stops_where_nobody_cares_any_more():
    User.objects.bulk_create(User(email=f"u{n}@example.test", name="N", password="!") for n in range(COUNT_UP_TO + 1))
    page = keyset_page(User.objects.all(), get("/"), count=True)
    assert (page.counted, page.capped) == (COUNT_UP_TO, True)
