"""Forms of the catalog's pages. They shape input; whether it is acceptable is decided by the services."""

from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team, User
from registry.catalog.models import Agent, DataClass, Environment, Governed, Issuer, Server, System, VisibilityRule
from registry.catalog.queries import always_confidential
from registry.catalog.states import Lifecycle, Standing
from registry.core.actors import Actor

OFFERED = 50
"""How many suggestions a lookup shows; typing narrows them down."""


class LookupField(forms.CharField, ABC):
    """A text field that names one thing: a datalist suggests, htmx narrows it down while typing.

    A select of everything would not survive five thousand people. Works without JavaScript by typing the name.
    """

    kind = ""
    unknown = _("Nothing here is called that. Choose one of the suggestions.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=300, **kwargs)
        self.actor = Actor.anonymous()

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "list": f"{self.kind}-options", "autocomplete": "off"}

    def bind_actor(self, actor: Actor) -> None:
        """Set whose eyes the lookup uses; called by `ActorForm`."""
        self.actor = actor
        self.widget.attrs.update({
            "hx-get": reverse("catalog:options", args=[self.kind]),
            "hx-trigger": "input changed delay:200ms",
            "hx-target": f"#{self.kind}-options",
            "hx-swap": "innerHTML",
        })  # fmt: skip

    @abstractmethod
    def candidates(self, actor: Actor) -> QuerySet[Any]: ...

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        for word in text.split():
            queryset = queryset.filter(name__icontains=word)
        return queryset

    @staticmethod
    def text_of(thing: Any) -> str:
        """What the field shows for a thing and understands again."""
        return str(thing)

    def find(self, text: str) -> QuerySet[Any]:
        return self.candidates(self.actor).filter(name__iexact=text)

    def prepare_value(self, value: Any) -> Any:
        return self.text_of(value) if isinstance(value, Model) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip()
        if not text:
            return None
        found = list(self.find(text)[:2])
        if len(found) != 1:
            raise ValidationError(self.unknown if not found else _("Several are called that."), code="unknown")
        return found[0]


class PersonField(LookupField):
    kind = "people"
    unknown = _("Nobody active has this address. Type the e-mail address, or choose a suggestion.")

    def candidates(self, actor: Actor) -> QuerySet[User]:
        return User.objects.filter(is_active=True)

    def narrow(self, queryset: QuerySet[User], text: str) -> QuerySet[User]:
        for word in text.split():
            queryset = queryset.filter(Q(name__icontains=word) | Q(email__icontains=word))
        return queryset

    @staticmethod
    def text_of(thing: User) -> str:
        return thing.email

    def find(self, text: str) -> QuerySet[User]:
        return self.candidates(self.actor).filter(email__iexact=text)


class SystemField(LookupField):
    kind = "systems"
    unknown = _("No system is called that. Choose a suggestion, or register a new one below.")

    def candidates(self, actor: Actor) -> QuerySet[System]:
        return System.objects.visible_to(actor).filter(standing=Standing.ACTIVE)

    @staticmethod
    def text_of(thing: System) -> str:
        """With its environment: a name is unique only within one."""
        return f"{thing.name} ({thing.environment})"

    def find(self, text: str) -> QuerySet[System]:
        name, _separator, environment = text.rpartition(" (")
        if name and environment.rstrip(")") in Environment.values:
            return self.candidates(self.actor).filter(name__iexact=name, environment=environment.rstrip(")"))
        return super().find(text)


class ServerField(LookupField):
    kind = "servers"
    unknown = _("No server is called that. Give its full name, for example com.example/warehouse-sql.")

    def candidates(self, actor: Actor) -> QuerySet[Server]:
        return Server.objects.visible_to(actor).exclude(lifecycle=Lifecycle.RETIRED)


class AgentField(LookupField):
    kind = "agents"
    unknown = _("No agent is called that. Choose a suggestion, or register the agent first.")

    def candidates(self, actor: Actor) -> QuerySet[Agent]:
        return Agent.objects.visible_to(actor).filter(standing=Standing.ACTIVE)


LOOKUPS: dict[str, type[LookupField]] = {
    field.kind: field for field in (PersonField, SystemField, ServerField, AgentField)
}


class ActorForm(forms.Form):
    """A form whose lookups see with the eyes of `actor`."""

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor
        for field in self.fields.values():
            if isinstance(field, LookupField):
                field.bind_actor(actor)

    @property
    def lookups(self) -> list[str]:
        """The kinds of suggestions this form needs a datalist for."""
        return sorted({field.kind for field in self.fields.values() if isinstance(field, LookupField)})


class ConfidentialForm(forms.Form):
    """The box that marks a thing confidential, and what the rules have decided already."""

    confidential = forms.BooleanField(
        label=_("Confidential"),
        required=False,
        help_text=_("Only its team, its accountable people, its reviewers, security and auditors see it."),
    )

    def explain_visibility(self, thing: Governed | None) -> None:
        """Say at the box what a rule says about this thing; a box that would change nothing cannot be changed."""
        field = self.fields["confidential"]
        rule = VisibilityRule.objects.over(thing) if thing is not None else None
        if rule is not None:
            field.disabled = True
            field.help_text = rule.sentence
            self.initial["confidential"] = True
        else:
            field.help_text = " ".join(filter(None, (str(field.help_text), always_confidential())))

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.fields["confidential"].disabled:
            # Nobody said anything by it.
            values.pop("confidential", None)
        return values


class GovernedForm(ActorForm, ConfidentialForm):
    """Fields that systems and agents share."""

    environment = forms.ChoiceField(label=_("Environment"), choices=Environment, initial=Environment.PRODUCTION)
    owner = PersonField(label=_("Owner"), required=False, help_text=_("E-mail address of who answers for it."))
    team = forms.ModelChoiceField(Team.objects.all(), label=_("Team"), required=False, empty_label=_("No team"))
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )


class SystemForm(GovernedForm):
    name = forms.CharField(label=_("Name"), max_length=120)
    kind = forms.ChoiceField(label=_("Kind"), choices=System.Kind)
    data_class = forms.ChoiceField(
        label=_("Data class"),
        choices=DataClass,
        initial=DataClass.INTERNAL,
        help_text=_("The most sensitive data in it. It decides how strictly servers that reach it are reviewed."),
    )
    field_order = ("name", "kind", "data_class", "environment", "owner", "team", "description", "confidential")


class AgentForm(GovernedForm):
    name = forms.CharField(label=_("Name"), max_length=120)
    kind = forms.ChoiceField(label=_("Kind"), choices=Agent.Kind)
    spiffe_id = forms.CharField(
        label=_("SPIFFE id"),
        required=False,
        max_length=300,
        help_text=_("For example spiffe://example.org/agents/forecast. Or give an issuer and a client id."),
    )
    issuer = forms.ModelChoiceField(
        Issuer.objects.filter(standing=Standing.ACTIVE), label=_("Issuer"), required=False, empty_label=_("No issuer")
    )
    client_id = forms.CharField(
        label=_("Client id"), required=False, max_length=200, help_text=_("As it stands in the issuer's tokens.")
    )
    server = ServerField(
        label=_("Server"), required=False, help_text=_("Only for an MCP server that itself calls other servers.")
    )
    field_order = (
        "name", "kind", "spiffe_id", "issuer", "client_id", "server", "environment", "owner", "team", "description",
        "confidential",
    )  # fmt: skip


class IssuerForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    kind = forms.ChoiceField(label=_("Kind"), choices=Issuer.Kind)
    uri = forms.CharField(
        label=_("Identifier"),
        max_length=300,
        help_text=_("https://login.example.org or spiffe://example.org, exactly as it stands in tokens."),
    )
    jwks_uri = forms.URLField(
        label=_("Address of its keys (JWKS)"), required=False, max_length=300, assume_scheme="https"
    )
    team = forms.ModelChoiceField(
        Team.objects.all(),
        label=_("Accepted for"),
        required=False,
        empty_label=_("Everybody"),
        help_text=_("Identities of this issuer are accepted for one team, or for everybody."),
    )


class ReasonForm(forms.Form):
    """Why something is taken out of service or ended."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Kept as evidence and shown on the page."),
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)


class VisibilityRuleForm(forms.Form):
    """Whose things become confidential: those of a team or those in an environment, whichever has no rule yet."""

    over = forms.ChoiceField(label=_("Everything of"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ruled = VisibilityRule.objects.in_force()
        teams = Team.objects.exclude(pk__in=ruled.filter(team__isnull=False).values("team")).order_by("name")
        taken = set(ruled.values_list("environment", flat=True))
        self.teams = {f"team:{team.slug}": team for team in teams}
        over: Any = self.fields["over"]
        over.choices = [
            ("", _("Choose…")),
            (_("Teams"), [(key, team.name) for key, team in self.teams.items()]),
            (_("Environments"), [(f"in:{key}", label) for key, label in Environment.choices if key not in taken]),
        ]

    def clean_over(self) -> dict[str, Any]:
        """`{"team": …}` or `{"environment": …}`, as the service takes it."""
        over: str = self.cleaned_data["over"]
        return {"team": self.teams[over]} if over in self.teams else {"environment": over.removeprefix("in:")}


class VisibilityRuleReasonForm(VisibilityRuleForm):
    """The same with the reason, once its effect was shown."""

    over = forms.ChoiceField(widget=forms.HiddenInput)
    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Kept as evidence and shown with the rule."),
    )


class Ticked(forms.MultipleChoiceField):
    """The ids of ticked rows, which the page draws itself. Whether they exist is asked where they are looked up."""

    widget = forms.MultipleHiddenInput

    def valid_value(self, value: Any) -> bool:
        try:
            UUID(value)
        except ValueError:
            return False
        return True


class SuccessorForm(ActorForm):
    """Ask one person about many things."""

    vacancies = Ticked(error_messages={"required": _("Tick at least one.")})
    successor = PersonField(
        label=_("Who could take it over?"), help_text=_("They are asked; they answer for it only once they say yes.")
    )
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Stands in the mail they get."),
    )


class AnswerForm(ActorForm):
    """Say yes or no to many questions at once."""

    proposals = Ticked(error_messages={"required": _("Tick at least one.")})
    answer = forms.ChoiceField(choices=[("accept", _("Take over")), ("decline", _("Decline"))])
    deputy = PersonField(
        label=_("Who stands in for you?"),
        required=False,
        help_text=_("Only where you were the deputy; otherwise the present deputy stays."),
    )
    reason = forms.CharField(
        label=_("Why not?"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2})
    )
