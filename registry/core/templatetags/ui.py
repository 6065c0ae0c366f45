"""Atoms of the user interface as template tags, available in every template without `{% load %}`.

Pictures are SVG whose sizes are attributes, because the content security policy allows no inline style; each
carries its meaning as text as well.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from math import ceil
from typing import Any

import structlog
from django import template
from django.template.defaultfilters import date as format_date
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.core import clock
from registry.core.icons import SPRITE, Icon
from registry.core.independence import spoken_to
from registry.core.inert import visible as visible_text
from registry.core.looks import TIERS, TOOL_CLASSES, act_look, state_look
from registry.core.panels import PlacedOffer, offers_for
from registry.core.types import Person

register = template.Library()

CERTIFICATION_DAYS = 180
LAPSING_DAYS = 30


@register.filter
def to_you(bars: Sequence[str]) -> list[str]:
    """Why somebody is barred, as said to themselves: goes on after "you"."""
    return [spoken_to(bar) for bar in bars]


# --- Icons, chips, meters ----------------------------------------------------------------------------------


@cache
def _sprite() -> str:
    """The address of the sprite, which a page names a hundred times."""
    return static(SPRITE)


@lru_cache(maxsize=1024)
def _decoration(name: str, extra: str) -> SafeString:
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}"/></svg>', f"i {extra}".strip(), f"{_sprite()}#{Icon(name)}"
    )


@register.simple_tag
def icon(name: str, extra: str = "", label: str = "") -> SafeString:
    """`{% icon "server" %}`, `{% icon "check" "i-sm tone-ok" %}`: decoration, unless a `label` makes it read aloud.

    Raises `ValueError` for a name that is not in `Icon`.
    """
    if not label:
        return _decoration(name, extra)
    return format_html(
        '<svg class="{}" role="img" aria-label="{}"><use href="{}"/></svg>',
        f"i {extra}".strip(),
        label,
        f"{_sprite()}#{Icon(name)}",
    )


def chip(word: object, icon_name: str = "", tone: str = "", title: str = "") -> SafeString:
    classes = " ".join(part for part in ("chip", "" if icon_name else "plain", tone) if part)
    attributes = format_html(' title="{}"', title) if title else SafeString("")
    picture = icon(icon_name) if icon_name else SafeString("")
    return format_html('<span class="{}"{}>{}{}</span>', classes, attributes, picture, word)


@register.simple_tag
def state(value: str, word: str = "") -> SafeString:
    """Chip of any state; `word` replaces the usual word, for example "Certified until 21 December"."""
    if not value:
        return SafeString("")
    look = state_look(str(value))
    return chip(word or look.word, look.icon, look.tone)


@register.simple_tag
def act(name: str) -> SafeString:
    """An act of the audit trail, `grant.revoked`, with the icon and tone of its verb."""
    look = act_look(name)
    return format_html(
        '<span class="act">{}{}</span>', icon(look.icon, f"tone-{look.tone}" if look.tone else "faint"), look.word
    )


@register.filter
def visible(text: object) -> str:
    """A stranger's text with what hides in it spelled out; escaped by the template as any text."""
    return visible_text(str(text))


@register.filter
def spoken(sentence: object) -> SafeString:
    """A sentence that quotes names in backticks: they stand in code, what hides is spelled out, all is escaped."""
    parts = visible_text(str(sentence)).split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
        return format_html("{}", "`".join(parts))
    quoted = (format_html("<code>{}</code>", part) if index % 2 else part for index, part in enumerate(parts))
    return format_html_join("", "{}", ((each,) for each in quoted))


@register.filter
def act_words(name: str) -> str:
    return str(act_look(name).word)


@register.simple_tag
def tool_class(value: str) -> SafeString:
    if not value:
        return chip(_("not known"), Icon.CIRCLE_QUESTION_MARK, "plum")
    look = TOOL_CLASSES[str(value)]
    return chip(look.word, "" if str(value) == "read" else look.icon, look.tone)


@register.simple_tag
def tier(value: str) -> SafeString:
    """Four bars and the word; the number of bars carries the meaning, not the colour."""
    if not value:
        return SafeString("")
    look = TIERS[str(value)]
    return format_html('<span class="risk r{}">{}{}</span>', look.bars, _risk(look.bars), look.word)


@cache
def _risk(on: int) -> SafeString:
    """Four bars of which the first `on` are lit."""
    places = (("0", "8", "4"), ("4.2", "5.4", "6.6"), ("8.4", "2.8", "9.2"), ("12.6", ".2", "11.8"))
    rects = format_html_join(
        "",
        '<rect x="{}" y="{}" width="3" height="{}" rx=".8"{}/>',
        ((*place, SafeString(' class="on"') if bar < on else "") for bar, place in enumerate(places)),
    )
    return format_html('<svg viewBox="0 0 16 12" aria-hidden="true">{}</svg>', rects)


# --- Time --------------------------------------------------------------------------------------------------


def _relative_days(days: int) -> str:
    match days:
        case 0:
            return _("today")
        case 1:
            return _("tomorrow")
        case -1:
            return _("yesterday")
    if days > 0:
        return ngettext("in %(n)d day", "in %(n)d days", days) % {"n": days}
    return ngettext("%(n)d day ago", "%(n)d days ago", -days) % {"n": -days}


def _relative_time(moment: datetime, now: datetime) -> str:
    seconds = int((moment - now).total_seconds())
    minutes, hours = abs(seconds) // 60, abs(seconds) // 3600
    if minutes < 1:
        return _("just now") if seconds <= 0 else _("in a moment")
    if hours < 1:
        words = (
            ngettext("in %(n)d minute", "in %(n)d minutes", minutes)
            if seconds > 0
            else ngettext("%(n)d minute ago", "%(n)d minutes ago", minutes)
        )
        return words % {"n": minutes}
    if hours < 12:
        words = (
            ngettext("in %(n)d hour", "in %(n)d hours", hours)
            if seconds > 0
            else ngettext("%(n)d hour ago", "%(n)d hours ago", hours)
        )
        return words % {"n": hours}
    return _relative_days((timezone.localdate(moment) - timezone.localdate(now)).days)


def _absolute(value: date) -> str:
    if isinstance(value, datetime):
        return f"{format_date(timezone.localtime(value), 'l j F Y, H:i')} {timezone.localtime(value):%Z}"
    return format_date(value, "l j F Y")


def _day(value: date) -> date:
    return timezone.localdate(value) if isinstance(value, datetime) else value


def _time_element(value: date, words: str, classes: str = "") -> SafeString:
    attribute = format_html(' class="{}"', classes) if classes else SafeString("")
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>', value.isoformat(), _absolute(value), attribute, words
    )


@register.filter
def moment(value: str | None) -> date | None:
    """A day or an instant as JSON carries it, for the tags that word one."""
    if not value:
        return None
    return date.fromisoformat(value) if len(value) == len("2026-01-31") else datetime.fromisoformat(value)


@register.simple_tag
def when(value: date | None, never: str = "") -> SafeString:
    """How long ago or until when, with the absolute time as title; beyond a month the date itself.

    `never` is shown when there is no date.
    """
    if value is None or value == "":
        return format_html('<span class="faint">{}</span>', never or _("never"))
    days = (_day(value) - clock.today()).days
    if abs(days) > 31:
        same_year = _day(value).year == clock.today().year
        return _time_element(value, format_date(_day(value), "j F" if same_year else "j F Y"))
    words = _relative_time(value, clock.now()) if isinstance(value, datetime) else _relative_days(days)
    return _time_element(value, words)


@register.simple_tag
def certified(until: datetime | None, words: str = "") -> SafeString:
    """Until when something is certified, or since when no longer: what has lapsed never reads as a date that is valid.

    `words` ("certified until") stand before a date to come. Nothing is said about the past of what has no date: a
    certificate that was ended leaves none.
    """
    if not until:
        return format_html('<span class="faint">{}</span>', _("not certified"))
    days = (_day(until) - clock.today()).days
    if until <= clock.now():
        since = _relative_days(days) if days >= -31 else format_date(_day(until), "j F Y")
        return _time_element(until, _("lapsed %(since)s") % {"since": since}, "tone-danger strong")
    if not words:
        return when(until)
    same_year = _day(until).year == clock.today().year
    return _time_element(until, f"{words} {format_date(_day(until), 'j F' if same_year else 'j F Y')}")


@register.simple_tag
def deadline(value: date | None) -> SafeString:
    """A due date, always with its weekday; late in red and in words."""
    if value is None or value == "":
        return format_html('<span class="faint">{}</span>', _("no date"))
    days = (_day(value) - clock.today()).days
    late = value < clock.now() if isinstance(value, datetime) else days < 0
    same_year = _day(value).year == clock.today().year
    day = format_date(_day(value), "l j F" if same_year else "l j F Y")
    if late and days < 0:
        words = ngettext("%(day)s, %(n)d day late", "%(day)s, %(n)d days late", -days) % {"day": day, "n": -days}
    else:
        words = _("%(day)s, %(relative)s") % {"day": day, "relative": _relative_days(days)}
    tone = "tone-danger strong" if late else "tone-warn" if days <= 2 else ""
    return _time_element(value, words, tone)


# --- People ------------------------------------------------------------------------------------------------


@register.simple_tag
def avatar(user: Person | None, extra: str = "") -> SafeString:
    """Initials in a disc; decoration, the name always stands beside it or in its title."""
    if not user:
        return format_html('<span class="avatar none {}" aria-hidden="true">?</span>', extra)
    colour = f"a{user.pk.int % 4 + 1}"
    return format_html(
        '<span class="avatar {} {}" aria-hidden="true" title="{}">{}</span>',
        colour,
        extra,
        user.name,
        user.initials,
    )


@register.simple_tag
def person(user: Person | None, caption: str = "", link: bool = True) -> SafeString:
    """Avatar, name and a caption ("Owner, confirmed 19 November"); `link=False` inside another link."""
    small = format_html("<small>{}</small>", caption) if caption else SafeString("")
    if not user:
        return format_html(
            '<span class="person">{}<span class="grow"><b class="faint">{}</b>{}</span></span>',
            avatar(None),
            _("Nobody yet"),
            small,
        )
    name: str | SafeString = user.name
    if link:
        try:
            name = format_html('<a href="{}">{}</a>', reverse("accounts:person", args=[user.pk]), user.name)
        except NoReverseMatch:
            name = user.name
    left = SafeString("") if user.is_active else format_html(" {}", chip(_("left"), Icon.USER_X, "danger"))
    return format_html(
        '<span class="person">{}<span class="grow"><b>{}</b>{}{}</span></span>', avatar(user), name, left, small
    )


# --- Pictures ----------------------------------------------------------------------------------------------


@register.simple_tag
def ring(certified_until: datetime | None, extra: str = "") -> SafeString:
    """The certification ring: time left around a tick, of a certificate's usual life."""
    now = clock.now()
    if not certified_until:
        label, tone, left = _("Not certified"), "none", 0
        mark = '<path class="tick" d="M17 24h14"/>'
    elif certified_until <= now:
        label = _("Certification lapsed on %(day)s") % {"day": format_date(certified_until, "j F Y")}
        tone, left = "danger", 0
        mark = '<path class="tick" d="M24 15v11M24 32v.5"/>'
    else:
        days = ceil((certified_until - now) / timedelta(days=1))
        label = ngettext("Certified, %(n)d day left", "Certified, %(n)d days left", days) % {"n": days}
        tone, left = ("warn" if days <= LAPSING_DAYS else "ok"), min(days, CERTIFICATION_DAYS)
        mark = '<path class="tick" d="m17 24.5 5 5 9.5-10.5"/>'
    arc = (
        format_html(
            '<circle class="fg" cx="24" cy="24" r="21" pathLength="{0}" stroke-dasharray="{1} {0}"'
            ' transform="rotate(-90 24 24)"/>',
            CERTIFICATION_DAYS,
            left,
        )
        if left
        else SafeString("")
    )
    return format_html(
        '<svg class="seal {} {}" viewBox="0 0 48 48" role="img" aria-label="{}"><title>{}</title>'
        '<circle class="in" cx="24" cy="24" r="21"/><circle class="bg" cx="24" cy="24" r="21"/>{}{}</svg>',
        tone,
        extra,
        label,
        label,
        arc,
        SafeString(mark),
    )


@register.simple_tag
def progress_bar(segments: Sequence[tuple[str, int, str]], legend: bool = True, done: str = "") -> SafeString:
    """Segments `(tone, count, label)` side by side, to scale; tones ok, warn, danger, accent, idle.

    The legend says the same in words; `done` ("31 of 48 decided") opens it.
    """
    shown = [(tone, count, label) for tone, count, label in segments if count]
    total = sum(count for _tone, count, _label in shown)
    words = ", ".join(f"{count} {label}" for _tone, count, label in shown) or _("nothing yet")
    width, gap, x = 480.0, 2.0, 0.0
    scale = (width - gap * max(len(shown) - 1, 0)) / total if total else 0
    rects = []
    for tone, count, _label in shown:
        rects.append((tone, f"{x:.1f}", f"{count * scale:.1f}"))
        x += count * scale + gap
    if not total:
        rects.append(("idle", "0", "480"))
    picture = format_html(
        '<svg class="progress" viewBox="0 0 480 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        f"{done}: {words}" if done else words,
        format_html_join("", '<rect class="f-{}" x="{}" width="{}" height="10"/>', rects),
    )
    if not legend:
        return picture
    return format_html(
        '{}<p class="legend num">{}{}</p>',
        picture,
        format_html("<span><b>{}</b></span>", done) if done else SafeString(""),
        format_html_join("", '<span><i class="k-{}"></i>{} {}</span>', shown),
    )


@register.simple_tag
def meter(value: float, maximum: float, label: str, tone: str = "accent") -> SafeString:
    """A thin bar: `value` of `maximum`, for example days of a rotation interval."""
    filled = 296 * min(max(value / maximum, 0), 1) if maximum else 0
    return format_html(
        '<svg class="meter" viewBox="0 0 296 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="f-idle" width="296" height="6"/><rect class="f-{}" width="{}" height="6"/></svg>',
        label,
        tone,
        f"{filled:.1f}",
    )


@register.simple_tag
def spark(values: Sequence[float], label: str) -> SafeString:
    """Up to a dozen bars in a table cell; `label` says the sum in words."""
    values = list(values)[-12:]
    top = max(values, default=0) or 1
    bars_ = format_html_join(
        "",
        '<rect x="{}" y="{}" width="5" height="{}" rx="1"{}/>',
        (
            (
                position * 7,
                f"{20 - height:.1f}",
                f"{height:.1f}",
                "" if value else SafeString(' class="z"'),
            )
            for position, value in enumerate(values)
            for height in (max(20 * value / top, 2),)
        ),
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 84 20" role="img" aria-label="{}"><title>{}</title>{}</svg>',
        label,
        label,
        bars_,
    )


def _nice_step(top: float) -> float:
    """A round distance between three grid lines, at least 1."""
    step = 1.0
    while step * 3 < top:
        step *= 2.5 if str(step).startswith("2") else 2
    return step


@register.simple_tag
def bars(series: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str) -> SafeString:
    """Stacked bars over time. `series`: `(label under the bar, [(tone, count), …])` per bar, oldest first.

    The caller puts a table with the same numbers beside it (or in a `<details>`).
    """
    rows = list(series)
    top = max((sum(count for _tone, count in parts) for _name, parts in rows), default=0)
    step = _nice_step(top or 1)
    left, base, height, width = 34.0, 112.0, 93.0, 814.0
    unit = height / (step * 3)
    slot = width / max(len(rows), 1)
    thick = min(slot * 0.64, 28)
    rects, labels = [], []
    every = max(ceil(len(rows) / 8), 1)
    for position, (name, parts) in enumerate(rows):
        x, y = left + position * slot, base
        for tone, count in parts:
            if not count:
                continue
            size = max(count * unit, 2)
            y -= size
            rects.append((tone, f"{x:.1f}", f"{y:.1f}", f"{thick:.1f}", f"{size:.1f}"))
        if position % every == 0:
            labels.append((f"{x:.1f}", name))
    lines = [(f"M{left:g} {base + 0.5 - line * height / 3:.1f}H842",) for line in range(4)]
    scale = [(f"{base + 4 - line * height / 3:.1f}", f"{step * line:g}") for line in range(4)]
    return format_html(
        '<svg class="chart" viewBox="0 0 848 134" width="100%" role="img" aria-label="{}">{}{}{}{}</svg>',
        label,
        format_html_join("", '<path class="grid" d="{}"/>', lines),
        format_html_join("", '<text x="4" y="{}">{}</text>', scale),
        format_html_join("", '<rect class="f-{}" x="{}" y="{}" width="{}" height="{}" rx="2"/>', rects),
        format_html_join("", '<text x="{}" y="130">{}</text>', labels),
    )


# --- Small things -------------------------------------------------------------------------------------------


@register.simple_tag
def copy_button(text: str, label: str = "") -> SafeString:
    """A button that copies `text`; it appears only where scripts run (see app.js)."""
    return format_html(
        '<button class="btn ghost icon copy" type="button" hidden data-copy="{}" aria-label="{}">{}</button>',
        text,
        label or _("Copy"),
        icon("copy", "i-sm"),
    )


@register.filter
def attribute(thing: Any, name: str) -> Any:
    """`thing.name` or `thing[name]` for a name only known when rendering; None when it is missing."""
    try:
        return thing[name]
    except (KeyError, TypeError, IndexError):
        return getattr(thing, name, None)


@register.filter
def percent(share: float) -> str:
    """A share from 0 to 1 as whole percents."""
    return f"{round(share * 100)} %"


@register.simple_tag(takes_context=True)
def offers(context: template.Context, page: str) -> list[PlacedOffer]:
    """What upper rooms do with the things this list shows, as links that take its filters along."""
    request = context["request"]
    return offers_for(page, request.actor, request.GET)


@register.simple_tag
def request_id() -> str:
    """The id of this request, which the logs and the evidence carry too; empty outside a request."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


@register.filter
def fact(value: Any) -> str:
    """A JSON value as a person reads it: lists with commas, yes and no, "none"."""
    match value:
        case None | "" | []:
            return _("none")
        case bool():
            return _("yes") if value else _("no")
        case list():
            return ", ".join(fact(each) for each in value)
        case dict():
            return ", ".join(f"{name}: {fact(each)}" for name, each in value.items())
    return str(value)
