"""What the template atoms say, because colour and shape alone say nothing to many."""

import re
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest

from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.looks import state_look
from registry.core.templatetags import ui
from registry.reviews.states import CampaignState, ItemState, RemediationState
from registry.trust.states import Status

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fixed_now(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(clock, "today", lambda: NOW.date())


def words(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_icon_is_decoration_unless_it_has_a_label():
    assert 'aria-hidden="true"' in ui.icon("server")
    assert 'role="img" aria-label="Server"' in ui.icon("server", "i-sm", "Server")


def test_an_unknown_icon_is_an_error():
    with pytest.raises(ValueError, match="unicorn"):
        ui.icon("unicorn")


@pytest.mark.parametrize("states", [Lifecycle, Status, CampaignState, ItemState, RemediationState])
def test_every_state_has_a_look_of_its_own(states):
    for value in states.values:
        assert state_look(value).icon != "circle", value


def test_state_shows_icon_word_and_tone():
    markup = ui.state("suspended")
    assert words(markup) == "Suspended" and "#circle-pause" in markup and "chip warn" in markup


def test_a_state_nobody_listed_still_reads():
    assert words(ui.state("half_open")) == "Half open"


def test_text_is_escaped():
    assert "<script>" not in ui.state("active", "<script>alert(1)</script>")
    assert "<b>x" not in ui.person(
        SimpleNamespace(name="<b>x", initials="<b", pk=UUID(int=1), is_active=True), "<b>x", link=False
    )


def test_tier_shows_as_many_bars_as_it_is_high():
    for value, bars in (("critical", 4), ("high", 3), ("medium", 2), ("low", 1)):
        markup = ui.tier(value)
        assert markup.count('class="on"') == bars and words(markup).lower() == value


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (NOW, "just now"),
        (NOW - timedelta(minutes=5), "5 minutes ago"),
        (NOW + timedelta(minutes=1, seconds=5), "in 1 minute"),
        (NOW - timedelta(hours=3), "3 hours ago"),
        (NOW - timedelta(days=1), "yesterday"),
        (NOW + timedelta(days=5), "in 5 days"),
        (NOW - timedelta(days=60), "23 September"),
        (NOW + timedelta(days=400), "27 December 2027"),
        (date(2026, 11, 22), "today"),
        (date(2026, 11, 23), "tomorrow"),
        (None, "never"),
    ],
)
def test_when_says_it_relative_to_now(moment, said):
    assert words(ui.when(moment)) == said


def test_when_keeps_the_exact_time():
    assert 'datetime="2026-11-22T11:00:00+00:00"' in ui.when(NOW - timedelta(hours=3))
    assert "Sunday 22 November 2026, 11:00 UTC" in ui.when(NOW - timedelta(hours=3))


@pytest.mark.parametrize(
    ("due", "said", "tone"),
    [
        (NOW + timedelta(days=5), "Friday 27 November, in 5 days", ""),
        (NOW + timedelta(days=1), "Monday 23 November, tomorrow", "tone-warn"),
        (NOW - timedelta(days=2), "Friday 20 November, 2 days late", "tone-danger"),
        (NOW - timedelta(hours=1), "Sunday 22 November, today", "tone-danger"),
        (date(2026, 11, 22), "Sunday 22 November, today", "tone-warn"),
    ],
)
def test_deadline_names_the_weekday(due, said, tone):
    markup = ui.deadline(due)
    assert words(markup) == said
    assert tone in markup if tone else "class=" not in markup


@pytest.mark.parametrize(
    ("until", "label", "tone", "left"),
    [
        (NOW + timedelta(days=29), "Certified, 29 days left", "warn", "29 180"),
        (NOW + timedelta(days=90), "Certified, 90 days left", "ok", "90 180"),
        (NOW + timedelta(days=400), "Certified, 400 days left", "ok", "180 180"),
        (NOW - timedelta(days=1), "Certification lapsed on 21 November 2026", "danger", None),
        (None, "Not certified", "none", None),
    ],
)
def test_ring_says_how_long_the_certificate_holds(until, label, tone, left):
    markup = ui.ring(until)
    assert f'aria-label="{label}"' in markup and f'class="seal {tone} "' in markup
    assert (f'stroke-dasharray="{left}"' in markup) if left else ("stroke-dasharray" not in markup)


def test_progress_is_to_scale_and_says_the_same_in_words():
    markup = ui.progress_bar(
        [("ok", 22, "certified"), ("danger", 0, "revoked"), ("idle", 26, "to do")], done="22 of 48 decided"
    )
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="10"', markup)]
    assert sum(widths) + 2 == pytest.approx(480, abs=0.2) and widths[0] / widths[1] == pytest.approx(22 / 26, rel=0.01)
    assert 'aria-label="22 of 48 decided: 22 certified, 26 to do"' in markup
    assert words(markup) == "22 of 48 decided 22 certified 26 to do"


def test_progress_of_nothing_is_an_empty_bar():
    assert 'class="f-idle"' in ui.progress_bar([], legend=False)


def test_pictures_stay_inside_their_frame():
    spark = ui.spark([0, 3, 12, 7], "22 calls")
    for y, height in re.findall(r'y="([\d.]+)" width="5" height="([\d.]+)"', spark):
        assert float(y) >= 0 and float(y) + float(height) == pytest.approx(20)
    chart = ui.bars([(f"{day} Nov", [("accent", day * 7), ("danger", day)]) for day in range(30)], "calls")
    assert min(float(y) for y in re.findall(r'class="f-\w+" x="[\d.]+" y="([\d.-]+)"', chart)) >= 0
    assert max(float(x) for x in re.findall(r'class="f-\w+" x="([\d.]+)"', chart)) < 848


@pytest.mark.django_db
def test_person_links_to_their_page_and_says_who_left():
    from tests.factories import person

    user = person(name="Ines Moreau", active=False)
    markup = ui.person(user, "Owner")
    assert f'href="/people/{user.pk}"' in markup and words(markup) == "IM Ines Moreau left Owner"
    assert "href" not in ui.person(user, link=False).replace('href="/static', "")
    assert words(ui.person(None, "Deputy")) == "? Nobody yet Deputy"


def test_facts_read_as_words():
    assert ui.fact(["member", "security"]) == "member, security"
    assert (ui.fact(True), ui.fact(False), ui.fact(None), ui.fact([])) == ("yes", "no", "none", "none")
    assert ui.fact({"days": 3}) == "days: 3"
