"""The guided form of a template. Its fields are named as the service's errors are, so each error finds its field.

`stages.2.reviewer_rule` is the rule of the second stage; `ladder.critical` the rungs of the critical tier. Adding and
removing a stage are submit buttons: `rearranged` gives the same form with what was typed, unvalidated, one stage more
or less.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from django import forms
from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_filters import Filter, MultipleChoiceFilter

from registry.accounts.models import Team
from registry.catalog.filters import as_uuid
from registry.catalog.models import Tier
from registry.core.filtering import ChoiceMenu
from registry.reviews.cadence import LADDERS
from registry.reviews.models import LadderStep, SubjectKind, Template, TemplateStage
from registry.reviews.pools import possible_reviewers
from registry.reviews.population import filters_for
from registry.reviews.services.templates import MOST_STAGES

SCOPE = "scope."
SCOPE_LABELS = {
    "q": _("Search"),
    "lifecycle": _("Servers that are"),
    "status": _("Relationships that are"),
    "standing": _("Agents that are"),
}
SCOPE_HELP = {"owner": _("A name, an e-mail address or an id.")} | dict.fromkeys(
    ("lifecycle", "status", "standing"), _("None chosen means active.")
)
FALLBACKS = 3

Rung = dict[str, Any]


# --- Fields of their own ---------------------------------------------------------------------------------


class ChainWidget(forms.MultiWidget):
    """Selects side by side: first this, then that."""

    template_name = "reviews/_chain_widget.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Each select is named by its place: the label of the field stands only once, before them."""
        context = super().get_context(name, value, attrs)
        for place, select in enumerate(context["widget"]["subwidgets"], 1):
            select["attrs"]["aria-label"] = gettext("Choice %(n)d") % {"n": place}
        return context

    def decompress(self, value: Any) -> list[str]:
        return list(value or ())


class ChainField(forms.MultiValueField):
    """An ordered list of choices, given as a few selects of which any may stay empty."""

    def __init__(self, *, choices: Sequence[tuple[str, Any]], length: int, **kwargs: Any) -> None:
        options = [("", _("nobody else")), *choices]
        fields = [forms.ChoiceField(choices=options, required=False) for _index in range(length)]
        widget = ChainWidget([forms.Select(choices=options) for _index in range(length)])
        super().__init__(fields=fields, widget=widget, require_all_fields=False, **kwargs)

    def compress(self, data_list: Sequence[str]) -> list[str]:
        return [value for value in data_list if value]


class LadderWidget(forms.MultiWidget):
    """One line of the ladder's table: for each act the days around the deadline on which it happens."""

    template_name = "reviews/_ladder_widget.html"

    def __init__(self, tier: str) -> None:
        self.tier = tier
        super().__init__([forms.TextInput(attrs={"inputmode": "text", "size": 6}) for _act in LadderStep.Act])

    def decompress(self, value: Any) -> list[str]:
        rungs: Sequence[Rung] = value or ()
        return [", ".join(str(rung["day"]) for rung in rungs if rung["act"] == act) for act in LadderStep.Act.values]

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        # Django takes any list for what the inputs hold; rungs are a list too.
        rungs = isinstance(value, list) and any(isinstance(each, dict) for each in value)
        context = super().get_context(name, self.decompress(value) if rungs else value, attrs)
        for act, cell in zip(LadderStep.Act, context["widget"]["subwidgets"], strict=True):
            cell["attrs"]["aria-label"] = _("%(tier)s: %(act)s on these days") % {
                "tier": Tier(self.tier).label,
                "act": act.label,
            }
        return context


class DaysField(forms.Field):
    """Days around the deadline, minus for before it: `-7, -1`."""

    def to_python(self, value: Any) -> list[int]:
        try:
            return [int(word) for word in str(value or "").replace("−", "-").replace(",", " ").split()]
        except ValueError:
            raise forms.ValidationError(
                _("Give days as numbers, for example -7, -1: minus means before the deadline.")
            ) from None


class LadderField(forms.MultiValueField):
    """The rungs of one tier; empty when they are those that every campaign has."""

    def __init__(self, tier: str) -> None:
        self.tier = tier
        super().__init__(
            fields=[DaysField(required=False) for _act in LadderStep.Act],
            widget=LadderWidget(tier),
            label=Tier(tier).label,
            require_all_fields=False,
            required=False,
            initial=LADDERS[tier],
        )

    def compress(self, data_list: Sequence[list[int]]) -> list[Rung]:
        given = zip(LadderStep.Act.values, data_list, strict=False)
        rungs = [{"day": day, "act": act} for act, days in given for day in days or ()]
        return sorted(rungs, key=lambda rung: (rung["day"], LadderStep.Act.values.index(rung["act"])))


# --- The form --------------------------------------------------------------------------------------------


def _stage_fields() -> dict[str, forms.Field]:
    """The fields of one stage, in the order of the page."""
    return {
        "name": forms.CharField(
            label=_("What this stage is called"), max_length=80, required=False,
            help_text=_("For example: the team confirms, then security decides."),
        ),
        "reviewer_rule": forms.ChoiceField(
            label=_("Who reviews"), choices=TemplateStage.ReviewerRule.choices, widget=forms.RadioSelect, initial="pool"
        ),
        "fallback": ChainField(
            label=_("When nobody of them is independent, ask"), choices=TemplateStage.ReviewerRule.choices,
            length=FALLBACKS, required=False,
            help_text=_(
                "With nobody else, a thing for which nobody is found keeps the campaign at its launch gate until you "
                "name somebody. The last resort of most is the reviewer pool."
            ),
        ),
        "group": forms.ModelChoiceField(
            Team.objects.all(), label=_("The team whose members review"), required=False, empty_label=_("No team"),
            help_text=_("Only where members of a team are asked."),
        ),
        "reviewers": forms.ModelMultipleChoiceField(
            possible_reviewers(), label=_("Reviewer pool"), required=False, widget=ChoiceMenu,
            help_text=_("Nobody chosen means everybody with the role reviewer."),
        ),
        "reviewers_per_item": forms.IntegerField(label=_("People asked about each item"), min_value=1, initial=1),
        "strategy": forms.ChoiceField(
            label=_("When they disagree"), choices=TemplateStage.Strategy.choices,
            initial=TemplateStage.Strategy.BY_TIER,
        ),
        "duration_days": forms.IntegerField(label=_("Days to decide"), min_value=1, initial=14),
    }  # fmt: skip


STAGE_FIELDS = tuple(_stage_fields())


def _scope_field(name: str, each: Filter) -> forms.Field:
    """The field of a list page's filter, with words for where it stands now."""
    made = deepcopy(each.field)
    made.label = SCOPE_LABELS.get(name, made.label)
    made.help_text = SCOPE_HELP.get(name, made.help_text)
    return made


@dataclass(frozen=True)
class StageFields:
    """The bound fields of one stage by name, for the page."""

    position: int
    fields: Mapping[str, forms.BoundField]

    @property
    def wrong(self) -> bool:
        return any(field.errors for field in self.fields.values())


class TemplateForm(forms.Form):
    """What to review, by whom and when. The scope's fields become one filter, the stages' one list."""

    stages = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=MOST_STAGES, initial=1)
    name = forms.CharField(
        label=_("Name"), max_length=120, help_text=_("Campaigns are called this, with their period.")
    )
    kinds = forms.MultipleChoiceField(
        label=_("What is reviewed"),
        choices=SubjectKind.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=list(SubjectKind.values),
    )
    rolling = forms.BooleanField(
        label=_("Only what falls due before the next campaign"),
        required=False,
        help_text=_("What was certified for longer is left out, and told so. Otherwise everything, every time."),
    )
    cadence_days = forms.IntegerField(label=_("Repeat after days"), min_value=1, initial=90)
    next_run_on = forms.DateField(
        label=_("Launch by itself on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("Empty: only when somebody launches it."),
    )
    risk_analysis = forms.CharField(
        label=_("Why this often"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_(
            "The risk analysis behind the rhythm; auditors read it (PCI DSS calls it a targeted risk analysis)."
        ),
    )
    challenge_days = forms.IntegerField(
        label=_("Days to object"),
        min_value=0,
        initial=0,
        help_text=_("How long the people concerned may object before something is taken away. 0: at once."),
    )
    grouping = forms.ChoiceField(
        label=_("Reviewers find their items"), choices=Template.Grouping.choices, initial=Template.Grouping.SERVER,
        help_text=_("They may switch."),
    )  # fmt: skip
    instructions = forms.CharField(
        label=_("Instructions for reviewers"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    for_changes = forms.BooleanField(
        label=_("Use it for micro-certifications"),
        required=False,
        help_text=_("When certified facts change, an owner leaves or an exception expires, this says who reviews."),
    )
    enabled = forms.BooleanField(label=_("Switched on"), required=False, initial=True)
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fit = filters_for(self.chosen_kinds)
        # What was given and fits no longer, because other kinds were chosen, stays in sight until it is taken out.
        others = {name: each for kind in SubjectKind.values for name, each in filters_for([kind]).items()}
        stray = [name for name in others if name not in fit and self._is_given(SCOPE + name)]
        for name in (*fit, *stray):
            self.fields[SCOPE + name] = _scope_field(name, others[name])
        for position in range(1, self.stage_count + 1):
            for name, field in _stage_fields().items():
                self.fields[f"stages.{position}.{name}"] = field
        for tier in Tier.values:
            self.fields[f"ladder.{tier}"] = LadderField(tier)

    @property
    def stage_count(self) -> int:
        """How many stages the form has room for: what it was sent with, at least one and never more than there are."""
        given = str((self.data if self.is_bound else self.initial).get("stages", 1))
        return min(max(int(given), 1), MOST_STAGES) if given.isdecimal() else 1

    def _is_given(self, name: str) -> bool:
        given = self.data.getlist(name) if isinstance(self.data, QueryDict) else [self.initial.get(name)]
        return any(given)

    @property
    def scope(self) -> dict[str, Any]:
        """The filter as it was sent; the service judges it."""
        return {name.removeprefix(SCOPE): self.raw(name) for name in self.fields if name.startswith(SCOPE)}

    @property
    def chosen_kinds(self) -> list[str]:
        """What is reviewed, as far as it is known before validation: it says which filters there are."""
        if self.is_bound:
            field = self.fields["kinds"]
            return list(field.widget.value_from_datadict(self.data, self.files, self.add_prefix("kinds")) or ())
        return list(self.initial.get("kinds", SubjectKind.values))

    @property
    def stage_sections(self) -> Iterator[StageFields]:
        for position in range(1, self.stage_count + 1):
            yield StageFields(position, {name: self[f"stages.{position}.{name}"] for name in STAGE_FIELDS})

    @property
    def scope_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith(SCOPE)]

    @property
    def ladder_rows(self) -> list[forms.BoundField]:
        return [self[f"ladder.{tier}"] for tier in Tier.values]

    @property
    def may_add_stage(self) -> bool:
        return self.stage_count < MOST_STAGES

    def clean(self) -> dict[str, Any]:
        """What the service takes: the scope as one filter, the stages as a list, the ladder where it differs."""
        given = super().clean() or {}
        taken = {name: value for name, value in given.items() if "." not in name}
        ladder = {tier: given.get(f"ladder.{tier}") or [] for tier in Tier.values}
        return {
            **taken,
            "scope": self.scope,
            "stages": [self._stage(given, position) for position in range(1, self.stage_count + 1)],
            "ladder": {tier: rungs for tier, rungs in ladder.items() if rungs != LADDERS[tier]},
        }

    def raw(self, name: str) -> Any:
        """What was typed or chosen, as it was sent."""
        return self.fields[name].widget.value_from_datadict(self.data, self.files, self.add_prefix(name))

    @staticmethod
    def _stage(given: Mapping[str, Any], position: int) -> dict[str, Any]:
        stage = {name: given.get(f"stages.{position}.{name}") for name in STAGE_FIELDS}
        return {**stage, "reviewers": list(stage["reviewers"] or ()), "fallback": list(stage["fallback"] or ())}

    @staticmethod
    def initial_of(template: Template) -> dict[str, Any]:
        """The form as it shows this template."""
        plain = (
            "name", "kinds", "rolling", "cadence_days", "next_run_on", "risk_analysis", "challenge_days", "grouping",
            "instructions", "for_changes", "enabled",
        )  # fmt: skip
        stages = list(template.stages.order_by("position").prefetch_related("reviewers"))
        return {
            **{name: getattr(template, name) for name in plain},
            **_scope_initial(template.scope, template.kinds),
            "version": template.etag,
            "stages": len(stages),
            **{f"ladder.{tier}": template.ladder.get(tier, LADDERS[tier]) for tier in Tier.values},
            **{f"stages.{stage.position}.{name}": _initial(stage, name) for stage in stages for name in STAGE_FIELDS},
        }


def _initial(stage: TemplateStage, name: str) -> Any:
    return list(stage.reviewers.all()) if name == "reviewers" else getattr(stage, name)


# --- Adding and removing stages --------------------------------------------------------------------------


def rearranged(data: QueryDict, wanted: str) -> TemplateForm:
    """The form again with everything that was typed, nothing judged yet, after `add` or `remove.<position>`.

    `ladder` puts the ladder back to what every campaign has; `kinds` only shows the filters of the chosen kinds.
    """
    sent = TemplateForm(data)
    typed = {name: sent.raw(name) for name in sent.fields}
    stages = [
        {name: typed.pop(f"stages.{position}.{name}") for name in STAGE_FIELDS}
        for position in range(1, sent.stage_count + 1)
    ]
    verb, _dot, number = wanted.partition(".")
    if verb == "add" and len(stages) < MOST_STAGES:
        stages.append({})
    elif verb == "remove" and number.isdecimal() and 0 < int(number) <= len(stages) > 1:
        del stages[int(number) - 1]
    elif verb == "ladder":
        typed = {name: value for name, value in typed.items() if not name.startswith("ladder.")}
    typed["stages"] = len(stages)
    for position, stage in enumerate(stages, 1):
        typed |= {f"stages.{position}.{name}": value for name, value in stage.items()}
    return TemplateForm(initial=typed)


def started_from(query: QueryDict) -> TemplateForm:
    """A new template whose scope is what a list page's address asks for. `kinds` says what the list shows, `kind` to
    what it is narrowed where that is one of several."""
    known = set(SubjectKind.values)
    shown = known.intersection(query.getlist("kinds")) or known
    asked = shown.intersection(query.getlist("kind")) or shown
    kinds = [kind for kind in SubjectKind.values if kind in asked]
    given = {name: query.getlist(name) for name in filters_for(kinds) if query.getlist(name)}
    return TemplateForm(initial={"kinds": kinds, **_scope_initial(given, kinds)})


def _scope_initial(scope: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """A scope as its fields show it: one value or several, teams by what their field calls them."""
    known = filters_for(kinds)
    shown = {}
    for name, value in scope.items():
        several = isinstance(known.get(name), MultipleChoiceFilter)
        shown[SCOPE + name] = value[0] if isinstance(value, list) and not several else value
    if (teams := scope.get("team")) and "team" in known:
        ids = [found for found in map(as_uuid, teams) if found is not None]
        shown[SCOPE + "team"] = list(Team.objects.filter(Q(pk__in=ids) | Q(slug__in=teams)))
    return shown


# --- A scope in words ------------------------------------------------------------------------------------


def in_words(scope: Mapping[str, Any], kinds: Sequence[str]) -> list[tuple[str, str]]:
    """A stored scope for reading: the filter's label, and what is chosen by the names people know."""
    known = filters_for(kinds)
    told = []
    for name, value in scope.items():
        values = value if isinstance(value, list) else [value]
        if name == "team":
            words: Mapping[Any, Any] = {
                str(pk): team for pk, team in Team.objects.filter(pk__in=values).values_list("pk", "name")
            }
        else:
            words = dict(getattr(known[name].field, "choices", ())) if name in known else {}
        label = SCOPE_LABELS.get(name) or (known[name].label if name in known else name)
        told.append((str(label), ", ".join(str(words.get(each, each)) for each in values)))
    return told
