"""Days, deadlines and ladders: explicit about clock, time zone and calendar (invariant 17), and pure."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from registry.core import clock
from registry.core.errors import Invalid
from registry.reviews.cadence import (
    ACTING,
    LADDERS,
    Act,
    Rung,
    clean_ladder,
    end_of_day,
    frozen_ladder,
    may_climb_at,
    rungs,
    without_analysis,
)
from registry.reviews.services import update_template
from tests import factories as make

BERLIN, HAVANA, APIA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana"), ZoneInfo("Pacific/Apia")
LAST = timedelta(microseconds=1)


class TestEndOfDay:
    @pytest.mark.parametrize(
        ("day", "zone", "next_day_begins"),
        [
            (date(2026, 12, 31), UTC, datetime(2027, 1, 1, tzinfo=UTC)),
            (date(2026, 12, 31), BERLIN, datetime(2026, 12, 31, 23, tzinfo=UTC)),
            # 23 and 25 hours
            (date(2026, 3, 29), BERLIN, datetime(2026, 3, 29, 22, tzinfo=UTC)),
            (date(2026, 10, 25), BERLIN, datetime(2026, 10, 25, 23, tzinfo=UTC)),
            # The clock goes from 24:00 to 1:00: the next day begins at one.
            (date(2026, 3, 7), HAVANA, datetime(2026, 3, 8, 5, tzinfo=UTC)),
            # It goes from 1:00 back to 0:00: midnight comes twice, the first one counts.
            (date(2026, 10, 31), HAVANA, datetime(2026, 11, 1, 4, tzinfo=UTC)),
            # The 30th never was.
            (date(2011, 12, 29), APIA, datetime(2011, 12, 30, 10, tzinfo=UTC)),
            (date(2028, 2, 29), BERLIN, datetime(2028, 2, 29, 23, tzinfo=UTC)),
        ],
    )
    def test_is_the_instant_before_the_next_day_in_utc(self, day, zone, next_day_begins):
        found = end_of_day(day, zone)
        assert found == next_day_begins - LAST
        assert found.tzinfo is UTC

    @given(st.dates(date(2020, 1, 1), date(2035, 12, 31)), st.sampled_from([BERLIN, HAVANA, APIA, UTC]))
    def test_is_that_day_there_and_its_last_instant(self, day, zone):
        found = end_of_day(day, zone)
        assert found.astimezone(zone).date() == day
        assert (found + LAST).astimezone(zone).date() > day

    def test_by_the_same_calendar_as_today(self):
        """What "today" is and when it ends are one question: a deadline set today is never over already."""
        with timezone.override(ZoneInfo("Pacific/Kiritimati")), clock.at(datetime(2026, 12, 31, 13, tzinfo=UTC)):
            assert clock.today() == date(2027, 1, 1)
            assert end_of_day(clock.today()) == datetime(2027, 1, 1, 10, tzinfo=UTC) - LAST

    def test_a_rung_is_moved_by_no_clock_change(self):
        deadline = end_of_day(date(2026, 10, 28), BERLIN)
        assert deadline - Rung(-7, Act.REMIND).at(deadline) == timedelta(days=7)
        assert Rung(2, Act.SUSPEND).at(deadline.astimezone(BERLIN)) == deadline + timedelta(days=2)

    def test_one_instant_has_one_name(self):
        deadline = end_of_day(date(2026, 12, 31), BERLIN)
        rung = Rung(-3, Act.DEPUTY)
        assert rung.name(deadline) == rung.name(deadline.astimezone(BERLIN)) == "2026-12-31T22:59:59.999999Z -3 deputy"


class TestDue:
    def test_a_longer_cadence_for_high_risk_needs_a_written_analysis(self):
        assert without_analysis(90, {"critical", "high", "low"}, "") == ["critical"]
        assert without_analysis(180, {"critical", "high"}, " ") == ["critical", "high"]
        assert without_analysis(365, {"medium", "low"}, "") == []
        assert without_analysis(365, {"critical"}, "The server is read-only and offline.") == []


class TestLadders:
    def test_the_usual_ones_are_valid_and_no_difference(self):
        assert clean_ladder(LADDERS) == {}

    def test_only_what_differs_is_kept_and_all_of_it_frozen(self):
        own = [{"day": 0, "act": "suspend"}]
        assert clean_ladder({"critical": own, "low": LADDERS["low"]}) == {"critical": own}
        assert frozen_ladder({"critical": own}) == {**LADDERS, "critical": own}
        assert rungs({"critical": own}, "high") == rungs(LADDERS, "high"), "an old campaign that names fewer"

    @pytest.mark.parametrize(
        ("found", "says"),
        [
            ([], "at least one"),
            ("remind", "at least one"),
            ([{"day": 1}], "a day and an act"),
            ([{"day": 1, "act": "lapse", "mail": "x"}], "a day and an act"),
            ([{"day": 1.5, "act": "lapse"}], "whole numbers"),
            ([{"day": True, "act": "lapse"}], "whole numbers"),
            ([{"day": 91, "act": "lapse"}], "between -60 and 90"),
            ([{"day": 1, "act": "shout"}], "Not an act: shout"),
            ([{"day": day, "act": "remind"} for day in range(-8, 0)] + [{"day": 0, "act": "lapse"}], "At most 8"),
            ([{"day": 0, "act": "escalate"}, {"day": 0, "act": "lapse"}], "later day"),
            ([{"day": 1, "act": "lapse"}, {"day": 2, "act": "suspend"}], "firmer"),
            ([{"day": 1, "act": "suspend"}, {"day": 2, "act": "suspend"}], "firmer"),
            ([{"day": 1, "act": "lapse"}, {"day": 2, "act": "revoke"}], "Either"),
            ([{"day": -7, "act": "remind"}], "silence keeps nothing"),
            ([{"day": 0, "act": "suspend"}, {"day": 2, "act": "remind"}], "silence keeps nothing"),
            ([{"day": -1, "act": "suspend"}], "Before the deadline"),
            ([{"day": -1, "act": "escalate"}, {"day": 2, "act": "lapse"}], "Before the deadline"),
            ([{"day": 0, "act": "escalate"}, {"day": 1, "act": "escalate"}, {"day": 2, "act": "lapse"}], "once"),
            ([{"day": 0, "act": "suspend"}, {"day": 1, "act": "escalate"}, {"day": 2, "act": "revoke"}], "first"),
        ],
    )
    def test_what_is_refused_names_its_tier(self, found, says):
        with pytest.raises(Invalid) as refused:
            clean_ladder({"high": found})
        assert says in refused.value.fields["ladder.high"][0]

    @pytest.mark.parametrize("found", [None, [], "x", 3])
    def test_no_ladder_at_all(self, found):
        with pytest.raises(Invalid) as refused:
            clean_ladder(found)
        assert "ladder" in refused.value.fields

    def test_an_unknown_tier(self):
        with pytest.raises(Invalid) as refused:
            clean_ladder({"extreme": LADDERS["low"]})
        assert "extreme" in refused.value.fields["ladder"][0]

    @given(
        st.dictionaries(
            st.sampled_from(list(LADDERS)),
            st.lists(
                st.fixed_dictionaries({"day": st.integers(-70, 100), "act": st.sampled_from(Act.values)}), max_size=9
            ),
        )
    )
    def test_whatever_is_taken_ends_by_acting_on_the_subject(self, value):
        try:
            taken = clean_ladder(value)
        except Invalid:
            return
        for tier in LADDERS:
            ladder = rungs(taken, tier)
            assert ladder[-1].act in ACTING
            assert [rung.day for rung in ladder] == sorted({rung.day for rung in ladder})


class TestLateRungs:
    DEADLINE = datetime(2026, 12, 1, tzinfo=UTC)
    ESCALATE, SUSPEND = Rung(0, Act.ESCALATE), Rung(2, Act.SUSPEND)

    def test_on_its_day_when_the_one_before_was(self):
        before = (self.ESCALATE, self.DEADLINE + timedelta(minutes=5))
        assert may_climb_at(self.SUSPEND, self.DEADLINE, before) == self.DEADLINE + timedelta(days=2)
        assert may_climb_at(self.SUSPEND, self.DEADLINE, None) == self.DEADLINE + timedelta(days=2)

    @given(st.integers(1, 4000))
    def test_at_its_distance_when_the_one_before_was_missed(self, hours):
        woke = self.DEADLINE + timedelta(days=1, hours=hours)
        assert may_climb_at(self.SUSPEND, self.DEADLINE, (self.ESCALATE, woke)) == woke + timedelta(days=2)


class TestPlannedCadence:
    """A template that runs by itself less often than its tiers ask for says why."""

    def test_needs_an_analysis_for_critical_and_high_in_scope(self, db):
        tomorrow = clock.today() + timedelta(days=1)
        with pytest.raises(Invalid) as refused:
            make.template(next_run_on=tomorrow, cadence_days=90)
        assert "critical" in refused.value.fields["risk_analysis"][0]
        assert "30 days" in refused.value.fields["risk_analysis"][0]
        made = make.template(next_run_on=tomorrow, cadence_days=90, risk_analysis="Changes set off reviews at once.")
        with pytest.raises(Invalid):
            update_template(actor=make.acting(made.owner), template=made, risk_analysis=" ")

    def test_not_for_lower_tiers_nor_for_what_is_launched_by_hand(self, db):
        tomorrow = clock.today() + timedelta(days=1)
        make.template(next_run_on=tomorrow, cadence_days=365, scope={"tier": ["medium", "low"]})
        make.template(next_run_on=tomorrow, cadence_days=30)
        make.template(cadence_days=365)
