"""What is in scope of a campaign: the filters of the list pages, one language for people, addresses and templates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django_filters as filters
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team
from registry.catalog.filters import AgentFilter, Choices, OwnerFilter, ServerFilter, as_uuid
from registry.catalog.models import Agent, Server, Tier
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock
from registry.core.bulk import table_of
from registry.core.errors import Invalid
from registry.core.secrets import refuse_secrets
from registry.reviews.models import Campaign, PopulationEntry, SubjectKind, Template
from registry.trust.filters import ConnectionFilter, GrantFilter
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, Status

KIND_ORDER = (SubjectKind.SERVER, SubjectKind.GRANT, SubjectKind.CONNECTION, SubjectKind.AGENT)


class ScopedAgentFilter(AgentFilter):
    """Of agents, with the tier their review has: that of the most critical server they may call."""

    tier = Choices(Tier, method="by_tier", label=_("Tier"))

    class Meta(AgentFilter.Meta):
        pass

    def by_tier(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        held = Grant.objects.filter(agent=OuterRef("pk"), status__in=HELD)
        wanted = Q()
        for tier in map(Tier, value):
            above = [other for other in Tier if other.rank > tier.rank]
            # Whoever may call nothing is of the lowest tier.
            reaches = Q() if tier is Tier.LOW else Q(Exists(held.filter(server__tier=tier)))
            wanted |= reaches & ~Q(Exists(held.filter(server__tier__in=above)))
        return queryset.filter(wanted)


@dataclass(frozen=True)
class Reviewed:
    """How one kind of subject is selected. `state` is the filter that says which of them are in service."""

    model: type[Any]
    filterset: type[filters.FilterSet]
    state: str
    default: str
    allowed: tuple[str, ...]
    order: tuple[str, ...] = ("pk",)


# Relationships in the order of their server: its facts are then gathered once for all that rests on it, and whoever
# works through a queue meets the same server's things together.
_BY_SERVER = ("server_id", "pk")
REVIEWED: Mapping[str, Reviewed] = {
    SubjectKind.SERVER: Reviewed(
        Server, ServerFilter, "lifecycle", Lifecycle.ACTIVE, (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
    ),
    SubjectKind.GRANT: Reviewed(Grant, GrantFilter, "status", Status.ACTIVE, HELD, _BY_SERVER),
    SubjectKind.CONNECTION: Reviewed(Connection, ConnectionFilter, "status", Status.ACTIVE, HELD, _BY_SERVER),
    SubjectKind.AGENT: Reviewed(Agent, ScopedAgentFilter, "standing", Standing.ACTIVE, (Standing.ACTIVE,)),
}
STATES = frozenset(kind.state for kind in REVIEWED.values())
"""Filters that each say for their own kind what is in service; the others bind every kind that is chosen."""


def filters_for(kinds: Iterable[str]) -> dict[str, filters.Filter]:
    """The filters a scope over these kinds may use, by the name they have in an address.

    Those that every kind has, with the same meaning, and the state of each. One that only some have is none: it
    would leave the others unrestricted or out, and either is a surprise in a review.
    """
    chosen = [REVIEWED[kind] for kind in KIND_ORDER if kind in set(kinds)]
    if not chosen:
        return {}
    common = set.intersection(*(set(each.filterset.base_filters) for each in chosen)) - STATES
    # `kind` says of agents what they are, elsewhere which page is asked; a scope names its kinds itself.
    names = [name for each in chosen for name in each.filterset.base_filters if name in common or name == each.state]
    return {
        name: next(e.filterset.base_filters[name] for e in chosen if name in e.filterset.base_filters)
        for name in dict.fromkeys(names)
    }


def clean_scope(scope: Mapping[str, Any], kinds: Iterable[str]) -> dict[str, Any]:
    """`scope` in one canonical form, without what does not restrict: lists, sorted, for filters of several choices,
    words for the rest.

    Raises `Invalid` under `scope` for filters that not every kind has, and under `scope.<filter>` for their values.
    """
    chosen = [kind for kind in KIND_ORDER if kind in set(kinds)]
    known = filters_for(chosen)
    errors: dict[str, list[str]] = {}
    cleaned: dict[str, Any] = {}
    for name, value in sorted(scope.items()):
        values = sorted({str(each).strip() for each in _listed(value)} - {""})
        if not values:
            continue
        if name not in known:
            errors.setdefault("scope", []).append(_unknown(name, chosen, known))
            continue
        values = _teams(values) if name == "team" else values
        several = isinstance(known[name], filters.MultipleChoiceFilter)
        if not several and len(values) > 1:
            errors[f"scope.{name}"] = [str(_("One value only."))]
        elif isinstance(known[name], OwnerFilter) and values[0].casefold() == "me":
            errors[f"scope.{name}"] = [str(_("Say who: “me” would be somebody else for everybody who reads it."))]
        else:
            cleaned[name] = values if several else values[0]
    refuse_secrets({f"scope.{name}": value for name, value in cleaned.items() if isinstance(value, str)})
    for kind in chosen:
        for name, messages in _selected(kind, cleaned).errors.items():
            errors.setdefault(f"scope.{name}", [str(message) for message in messages])
        state = REVIEWED[kind].state
        if strange := [value for value in cleaned.get(state, ()) if value not in REVIEWED[kind].allowed]:
            errors.setdefault(
                f"scope.{state}",
                [
                    _("Cannot be reviewed: %(strange)s. Choose from: %(known)s.")
                    % {"strange": ", ".join(strange), "known": ", ".join(REVIEWED[kind].allowed)}
                ],
            )
    if errors:
        raise Invalid(fields=errors)
    return cleaned


def _listed(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _unknown(name: str, kinds: Iterable[SubjectKind], known: Iterable[str]) -> str:
    """Why a filter cannot be used, naming the kinds that lack it."""
    lacking = [kind for kind in kinds if name not in REVIEWED[kind].filterset.base_filters]
    having = [kind for kind in REVIEWED if name in REVIEWED[kind].filterset.base_filters]
    words = {"name": name, "known": ", ".join(sorted(known))}
    if not having:
        return _("Not a filter: %(name)s. Known: %(known)s.") % words
    return _("Not a filter of each %(kinds)s: %(name)s. Known for what is chosen: %(known)s.") % {
        **words,
        "kinds": ", ".join(str(SubjectKind(kind).label).lower() for kind in lacking or kinds),
    }


def _teams(values: list[str]) -> list[str]:
    """Ids in place of slugs: a slug may be given, an id stays true when the team is renamed."""
    slugs = [value for value in values if as_uuid(value) is None]
    ids = {slug: str(pk) for slug, pk in Team.objects.filter(slug__in=slugs).values_list("slug", "pk")}
    return sorted({ids.get(value, value) for value in values})


def _selected(kind: str, scope: Mapping[str, Any]) -> filters.FilterSet:
    """The list page's own filter of this kind, asked with what the scope says about it."""
    reviewed = REVIEWED[kind]
    mine = {name: value for name, value in scope.items() if name == reviewed.state or name not in STATES}
    mine.setdefault(reviewed.state, [reviewed.default])
    query = MultiValueDict({name: [str(each) for each in _listed(value)] for name, value in mine.items()})
    return reviewed.filterset(query, queryset=reviewed.model.objects.all())


def population(
    kinds: Iterable[str], scope: Mapping[str, Any], *, due_before: datetime | None = None
) -> list[tuple[str, QuerySet[Any]]]:
    """What is in scope, per kind and within it in a fixed order: by default everything active.

    `scope` as `clean_scope` returns it. With `due_before` only what was never certified or lapses before then.
    Raises `Invalid` for a filter that means nothing any more.
    """
    found = []
    for kind in KIND_ORDER:
        if kind not in set(kinds):
            continue
        selected, reviewed = _selected(kind, scope), REVIEWED[kind]
        if not selected.is_valid():
            raise Invalid(fields={f"scope.{name}": list(map(str, why)) for name, why in selected.errors.items()})
        # Their ids only: a filter may join and sort out doubles, which must not cost the columns of every row.
        in_scope = reviewed.model.objects.filter(pk__in=selected.qs.order_by().values("pk"))
        if due_before is not None:
            in_scope = in_scope.filter(Q(certified_until=None) | Q(certified_until__lt=due_before))
        found.append((str(kind), in_scope.order_by(*reviewed.order)))
    return found


def due_before(template: Template) -> datetime | None:
    """The instant before which a certificate must lapse to be in scope of a run now; None when everything is."""
    return clock.now() + clock.days(template.cadence_days) if template.rolling else None


def count_in_scope(
    kinds: Iterable[str], scope: Mapping[str, Any], *, due_before: datetime | None = None
) -> dict[str, int]:
    return {kind: queryset.count() for kind, queryset in population(kinds, scope, due_before=due_before)}


def population_hash(campaign: Campaign) -> str:
    """SHA-256 over the canonical JSON of every subject in scope in its order, with why it became no item.

    `[[kind, id, reason or ""], …]`, put together by the database: RFC 8785 and PostgreSQL write such strings alike.
    """
    entry = table_of(PopulationEntry)
    sql = f"""
        SELECT encode(sha256(convert_to('[' || coalesce(string_agg(
            '["' || kind || '","' || coalesce(server_id, grant_id, connection_id, agent_id)::text || '",'
                || to_json(excluded_because)::text || ']',
            ',' ORDER BY position), '') || ']', 'UTF8')), 'hex')
        FROM {entry} WHERE campaign_id = %s
    """  # noqa: S608 - our own name
    with connection.cursor() as cursor:
        cursor.execute(sql, [campaign.pk])
        found: str = cursor.fetchone()[0]
    return found
