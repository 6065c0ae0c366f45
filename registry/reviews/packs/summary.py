"""What people read in a pack: `summary.html`, which stands by itself, and how the pack is verified."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Any

from django.conf import settings
from django.db.models import TextChoices
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from registry.audit.log import origin
from registry.audit.notes import write_keys
from registry.audit.queries import public_keys
from registry.core.inert import visible_page
from registry.reviews.models import AuditPack, Campaign, Decision, QualityVerdict, Verification, WorkItemMove
from registry.reviews.packs import contents
from registry.reviews.packs.contents import Scope
from registry.reviews.states import CampaignState, RemediationState

Row = dict[str, Any]
NAMED = 20
"""Exceptions that the summary names; their file has all of them."""
LISTED = 200
"""Campaigns that the summary of a period lists."""
STYLE = Path(__file__).parent / "summary.css"


def page(
    pack: AuditPack, scope: Scope, rows: Sequence[Row], counts: Row, mapped: Sequence[Row], made_at: datetime
) -> bytes:
    one = pack.campaign
    context = {
        "pack": pack,
        "campaign": scope.campaigns[0] if one is not None else None,
        "row": rows[0] if one is not None else None,
        "rows": rows[:LISTED],
        "more_rows": max(len(rows) - LISTED, 0),
        "counts": counts,
        "answers": _in_words(counts["answers"], Decision.Value),
        "moves": _in_words(counts["moves"], WorkItemMove.Kind),
        "removals": _in_words(counts["remediations"], RemediationState),
        "sources": _in_words(counts["verified_by"], Verification.Source),
        "verdicts": _in_words(counts["verdicts"], QualityVerdict.Verdict),
        "controls": mapped,
        "made_at": made_at.astimezone(UTC),
        "exceptions": list(islice(contents.exceptions(scope), NAMED)),
        "open_points": open_points(counts, _failed_launches(scope)),
        "origin": origin(),
        # A file, not a page of ours: nothing else could give it its look.
        "style": SafeString(f"<style>{STYLE.read_text()}</style>"),
    }
    return visible_page(render_to_string("reviews/packs/summary.html", context).encode())


def _in_words(counts: Row, choices: type[TextChoices]) -> list[tuple[str, int]]:
    return [(str(choices(value).label), n) for value, n in counts.items()]


def _failed_launches(scope: Scope) -> int:
    if not scope.is_period:
        return 0
    failed = Campaign.objects.filter(population_hash="", state=CampaignState.GENERATION_FAILED)
    return failed.filter(created_at__gte=scope.since, created_at__lt=scope.until).count()


def open_points(counts: Row, failed_launches: int = 0) -> list[str]:
    """What an auditor would ask about, in plain words; an empty list is a statement, too."""
    red = counts["verdicts"].get("red", 0) - counts["red_confirmed"]
    told = (
        (not counts["ties_out"], _("Not every population adds up to its items and what was left out.")),
        (
            counts["conflicts_decided"],
            _("Assignments decided by somebody who has a stake in the item today, see assignments.csv: %(n)d."),
        ),
        (
            counts["conflicts_in_evidence"],
            _("Decisions of somebody who had a stake in the item by the evidence they decided on: %(n)d."),
        ),
        (
            counts["conflicts"] - counts["conflicts_decided"],
            _("Assignments that wait with somebody who has a stake in the item today: %(n)d."),
        ),
        (counts["parts"]["undecided"], _("Items that nobody has decided on yet: %(n)d.")),
        (counts["overdue"], _("Of them past their deadline: %(n)d.")),
        (counts["parts"]["unsigned"], _("Items decided and not signed: %(n)d.")),
        (counts["parts"]["cancelled"], _("Items without an outcome, because their campaign was cancelled: %(n)d.")),
        (counts["parts"]["obsolete"], _("Items without an outcome, because what they were about ended: %(n)d.")),
        (counts["parts"]["by_clock"], _("Items settled by the clock because nobody answered: %(n)d.")),
        (counts["remediations_open"], _("Removals that nobody independent has seen to be done yet: %(n)d.")),
        (counts["exceptions_in_force"], _("Exceptions in force, which keep access that was to go: %(n)d.")),
        (counts["exceptions_past_their_end"], _("Exceptions past their end and still open: %(n)d.")),
        (counts["waivers"], _("Gaps at a launch that an owner waived, with a reason: %(n)d.")),
        (red, _("Sets of hasty decisions that no second person confirmed: %(n)d.")),
        (failed_launches, _("Launches that failed in this period, and which are not in this pack: %(n)d.")),
    )
    return [words % {"n": number} for number, words in told if number]


def verify_text(pack: AuditPack) -> bytes:
    keys = indent(write_keys(public_keys()).rstrip(), "    ")
    context = {"about": pack.about, "keys": keys, "base": settings.BASE_URL}
    return visible_page(render_to_string("reviews/packs/VERIFY.md", context).encode())
