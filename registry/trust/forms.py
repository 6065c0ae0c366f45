"""Forms of trust. They shape input; whether it is acceptable is decided by the services."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from registry.catalog.forms import ActorForm, AgentField, ReasonForm, ServerField, SystemField
from registry.catalog.models import DataClass, SecretSource, Server, System, ToolClass
from registry.core import clock
from registry.trust.models import Combination, Connection, Grant
from registry.trust.queries import latest_valid_until

USUAL_DAYS = 180
LIFETIMES = [
    (300, _("5 minutes")),
    (900, _("15 minutes")),
    (3600, _("1 hour")),
    (4 * 3600, _("4 hours")),
    (8 * 3600, _("8 hours")),
    (24 * 3600, _("24 hours")),
]


class LastDayField(forms.DateField):
    """The last day on which something holds, as the instant at its end."""

    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")

    def clean(self, value: Any) -> Any:
        day = super().clean(value)
        return timezone.make_aware(datetime.combine(day, time(23, 59, 59))) if day else None


class LinesField(forms.CharField):
    """One entry per line, or separated by spaces or commas."""

    widget = forms.Textarea(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return str(super().clean(value)).replace(",", " ").split()


class RelationshipForm(ActorForm):
    """What both kinds ask: why, and until when. Knows the server as soon as it is named."""

    reason = forms.CharField(label=_("Why it is needed"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))
    valid_until = LastDayField(label=_("Until"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.named_server = self._find_server()
        usual = clock.today() + timedelta(days=USUAL_DAYS)
        if self.named_server is None:
            self.initial.setdefault("valid_until", usual)
            return
        limit = latest_valid_until(server=self.named_server, now=clock.now())
        self.initial.setdefault("valid_until", min(usual, limit.last_day))
        words = translate("At the latest %(day)s: %(because)s.")
        field = self.fields["valid_until"]
        field.help_text = words % {"day": f"{limit.last_day:%d %B %Y}", "because": limit.because}
        field.widget.attrs["max"] = limit.last_day.isoformat()

    def _find_server(self) -> Server | None:
        value = self.data.get("server") if self.is_bound else self.initial.get("server")
        if isinstance(value, Server) or not value:
            return value or None
        if "\0" in str(value):  # no name holds that; the field says so
            return None
        field = self.fields["server"]
        return field.find(str(value).strip()).first()  # type: ignore[attr-defined]


class GrantForm(RelationshipForm):
    agent = AgentField(label=_("Agent"), help_text=_("Who is to call the server."))
    server = ServerField(label=_("Server"), help_text=_("The MCP server it is to call."))
    tools = forms.MultipleChoiceField(
        label=_("Tools"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("Only what it needs.")
    )
    all_tools = forms.BooleanField(
        label=_("Every tool, also those added later"),
        required=False,
        help_text=_("Say below why naming tools is not enough. Reviewers see this as a finding."),
    )
    on_behalf_of = forms.ChoiceField(label=_("On behalf of"), choices=Grant.OnBehalfOf)
    behalf_detail = forms.CharField(
        label=_("Whom exactly"), required=False, max_length=200, help_text=_("For example: 12 planners.")
    )
    max_token_lifetime_seconds = forms.TypedChoiceField(
        label=_("A token lives at most"), choices=LIFETIMES, coerce=int, initial=3600
    )
    field_order = (
        "agent", "server", "tools", "all_tools", "reason", "on_behalf_of", "behalf_detail",
        "max_token_lifetime_seconds", "valid_until",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tools = list(self.named_server.tools.filter(retired_at=None)) if self.named_server else []
        self.tool_rows = tools
        if tools:
            self.fields["tools"].choices = [(tool.name, tool.name) for tool in tools]  # type: ignore[attr-defined]
        elif self.named_server:
            self.fields["tools"] = LinesField(
                label=_("Tools"), required=False, help_text=_("This server lists no tools; name them, one per line.")
            )
        self.order_fields(self.field_order)

    @property
    def chosen_tools(self) -> Sequence[str]:
        return self["tools"].value() or []


class ConnectionForm(RelationshipForm):
    server = ServerField(label=_("Server"), help_text=_("The MCP server that acts."))
    system = SystemField(label=_("System"), help_text=_("What it acts on."))
    access = forms.ChoiceField(label=_("Access"), choices=Connection.Access, widget=forms.RadioSelect, initial="read")
    scopes = LinesField(
        label=_("Scopes"), required=False, help_text=_("As the system names them, one per line: tickets:read.")
    )
    secret_source = forms.ModelChoiceField(
        SecretSource.objects.none(),
        label=_("Secret source"),
        required=False,
        empty_label=_("The server's only one, or named later by its owner"),
    )
    field_order = ("server", "system", "access", "scopes", "secret_source", "reason", "valid_until")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.named_server:
            sources = SecretSource.objects.filter(server=self.named_server, retired_at=None)
            self.fields["secret_source"].queryset = sources  # type: ignore[attr-defined]


class VersionForm(forms.Form):
    """A decision without words, on the version one has seen."""

    version = forms.CharField(widget=forms.HiddenInput, required=False)


class ReduceGrantForm(ReasonForm):
    kept_tools = forms.MultipleChoiceField(
        label=_("Keep"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("The rest is taken away.")
    )
    field_order = ("kept_tools", "reason", "version")

    def __init__(self, *args: Any, tools: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kept_tools"].choices = [(name, name) for name in tools]  # type: ignore[attr-defined]


class ReduceConnectionForm(ReasonForm):
    access = forms.ChoiceField(label=_("Access"), widget=forms.RadioSelect)
    kept_scopes = forms.MultipleChoiceField(
        label=_("Keep"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("The rest is taken away.")
    )
    field_order = ("access", "kept_scopes", "reason", "version")

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        levels = list(Connection.Access)
        reachable = levels[: levels.index(Connection.Access(connection.access)) + 1]
        self.fields["access"].choices = [(level.value, level.label) for level in reachable]  # type: ignore[attr-defined]
        if connection.scopes:
            self.fields["kept_scopes"].choices = [(name, name) for name in connection.scopes]  # type: ignore[attr-defined]
        else:
            del self.fields["kept_scopes"]


class SecretSourceForm(VersionForm):
    secret_source = forms.ModelChoiceField(SecretSource.objects.none(), label=_("Secret source"), empty_label=None)

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sources = SecretSource.objects.filter(server=connection.server, retired_at=None)
        self.fields["secret_source"].queryset = sources  # type: ignore[attr-defined]


class CombinationForm(forms.Form):
    """A toxic combination with room for every leg it may have; empty legs do not count.

    The fields of a leg are called as the service names them in its errors: `legs.0.access`.
    """

    MOST_LEGS = 6
    PARTS = ("label", "tool_classes", "system_kinds", "data_classes", "access", "open_world")

    name = forms.CharField(label=_("Name"), max_length=100)
    explanation = forms.CharField(
        label=_("Why it is dangerous"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: dict[str, tuple[Any, Any]] = {
            "tool_classes": (_("Class of a granted tool"), ToolClass.choices),
            "system_kinds": (_("Kind of system reached"), System.Kind.choices),
            "data_classes": (_("Data class of the system"), DataClass.choices),
            "access": (_("Access to the system"), Connection.Access.choices),
        }
        for number in range(self.MOST_LEGS):
            self.fields[f"legs.{number}.label"] = forms.CharField(
                label=_("What this leg is"),
                max_length=100,
                required=False,
                help_text=_("Needed as soon as the leg asks for anything."),
            )
            for part, (label, values) in choices.items():
                self.fields[f"legs.{number}.{part}"] = forms.MultipleChoiceField(
                    label=label, choices=values, required=False, widget=forms.CheckboxSelectMultiple
                )
            self.fields[f"legs.{number}.open_world"] = forms.BooleanField(
                label=_("or a granted tool says that it talks to an open world"), required=False
            )

    @classmethod
    def initial_of(cls, combination: Combination | None) -> dict[str, Any]:
        if combination is None:
            return {}
        initial: dict[str, Any] = {
            "name": combination.name,
            "explanation": combination.explanation,
            "version": combination.etag,
        }
        for number, leg in enumerate(combination.legs[: cls.MOST_LEGS]):
            initial |= {f"legs.{number}.{part}": value for part, value in leg.items()}
        return initial

    @property
    def leg_fields(self) -> list[dict[str, Any]]:
        """The legs as the template shows them: the used ones and the first two open, the others folded."""
        found = []
        for number in range(self.MOST_LEGS):
            fields = {part: self[f"legs.{number}.{part}"] for part in self.PARTS}
            used = any(field.value() for field in fields.values())
            found.append({"number": number + 1, "fields": fields, "open": used or number < 2})
        return found

    def legs(self) -> tuple[list[dict[str, Any]], list[int]]:
        """The legs somebody filled in, and where each stands in the form."""
        made, places = [], []
        for number in range(self.MOST_LEGS):
            leg = {part: self.cleaned_data[f"legs.{number}.{part}"] for part in self.PARTS}
            if any(leg.values()):
                made.append({part: value for part, value in leg.items() if value})
                places.append(number)
        return made, places

    @staticmethod
    def place(path: str, places: Sequence[int]) -> str:
        """Where the form shows what the service says about `path`."""
        start, _dot, rest = path.partition(".")
        number, _dot, part = rest.partition(".")
        return f"legs.{places[int(number)]}.{part}" if start == "legs" and number.isdigit() else path
