"""Forms of the registration, one per step. Rows come as formsets that need no JavaScript to grow.

Whether something is acceptable is decided by the services; `place_errors` brings their words to the fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.forms.formsets import formset_factory
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team
from registry.catalog.forms import ActorForm, ConfidentialForm, PersonField, SystemField
from registry.catalog.models import (
    DataClass,
    Environment,
    RevocationStep,
    SecretSource,
    Server,
    System,
    ToolClass,
    Transport,
)
from registry.core import clock
from registry.core.errors import RegistryError, SecretRefused
from registry.core.forms import hide_secrets
from registry.trust.models import Connection

PACKAGE_REGISTRIES = ("npm", "pypi", "oci", "nuget", "mcpb", "cargo")
"""Suggested, not required: publishers use others too."""
LIFETIME_UNITS = {60: _("minutes"), 3600: _("hours"), 86400: _("days")}


def one_per_line(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


class DateField(forms.DateField):
    """A date with the browser's own picker."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"), **kwargs)


class LinesField(forms.CharField):
    """A list, one entry per line."""

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": rows}), max_length=8000, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        return one_per_line(super().clean(value))


def typed(form: forms.BaseForm, name: str) -> Any:
    """What was posted in a field, unchecked."""
    return form.fields[name].widget.value_from_datadict(form.data, form.files, form.add_prefix(name))


class RowFormSet(forms.BaseFormSet):
    """Rows of which the empty ones do not count: once posted, no row is special, and one that was emptied is gone."""

    def __init__(self, data: Any = None, *args: Any, initial: Any = None, **kwargs: Any) -> None:
        self.shown: list[dict[str, Any]] = list(initial or [])
        kwargs["initial"] = None if data is not None else initial
        super().__init__(data, *args, **kwargs)

    def initial_form_count(self) -> int:
        return 0 if self.is_bound else super().initial_form_count()

    def has_changed(self) -> bool:
        """Whether the posted rows differ from the ones the page showed."""
        for index, form in enumerate(self.forms):
            shown = self.shown[index] if index < len(self.shown) else {}
            for name, field in form.fields.items():
                if field.has_changed(shown.get(name, field.initial), typed(form, name)):
                    return True
        return len(self.forms) < len(self.shown)

    @property
    def filled(self) -> list[Any]:
        return [form for form in self.forms if form.has_changed() and not form.cleaned_data.get("DELETE")]

    def rows(self) -> list[dict[str, Any]]:
        """The filled rows in the order the person gave them."""
        return [{name: value for name, value in form.cleaned_data.items() if name != "DELETE"} for form in self.filled]

    def grown(self) -> "RowFormSet":
        """The same rows as typed, unchecked, with one more: for the button that adds a row."""
        rows = [{name: typed(form, name) for name in form.fields} for form in self.forms]
        kept = [row for row in rows if any(value for name, value in row.items() if name != "DELETE")]
        again = type(self)(prefix=self.prefix, initial=kept, form_kwargs=self.form_kwargs)
        again.extra = 1
        return again


def place_errors(
    form: forms.BaseForm, error: RegistryError, names: Mapping[str, str] | None = None
) -> RegistryError | None:
    """Put a service's complaints on the form's fields and return what no field is about, None when all are placed.

    `names` maps a service's field to the form's where they differ; `scopes.2` is about `scopes`.
    """
    left: dict[str, Sequence[str]] = {}
    for path, messages in error.fields.items():
        head = path.partition(".")[0]
        name = next((name for name in ((names or {}).get(path), path, head) if name in form.fields), None)
        if name is None:
            left[path] = messages
            continue
        for message in messages:
            form.add_error(name, message)
        if isinstance(error, SecretRefused):
            hide_secrets(form, name)
    return type(error)(error.message, fields=left) if left or not error.fields else None


def place_row_errors(
    rows: RowFormSet, error: RegistryError, prefix: str, names: Mapping[str, str] | None = None
) -> RegistryError | None:
    """Put complaints about `prefix.<index>.<field>` on the row they mean and return the others."""
    filled = rows.filled
    left: dict[str, Sequence[str]] = {}
    for path, messages in error.fields.items():
        head, _dot, rest = path.partition(".")
        index, _dot, name = rest.partition(".")
        if head != prefix or not index.isdigit() or int(index) >= len(filled):
            left[path] = messages
            continue
        row = filled[int(index)]
        if place_errors(row, type(error)(error.message, fields={name: messages}), names) is not None:
            for message in messages:
                row.add_error(None, message)
    return type(error)(error.message, fields=left) if left or not error.fields else None


# --- Start -----------------------------------------------------------------------------------------------


class PasteForm(forms.Form):
    """A server.json, pasted or uploaded."""

    text = forms.CharField(
        label=_("server.json"),
        required=False,
        max_length=1_000_000,
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "input code"}),
        help_text=_("Any generation of the format. Secret values in it are refused, not stored."),
    )
    file = forms.FileField(label=_("Or a file"), required=False, widget=forms.FileInput(attrs={"accept": ".json"}))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if upload := data.get("file"):
            if upload.size > 1_000_000:
                self.add_error("file", _("A server.json is smaller than 1 MB."))
            else:
                try:
                    data["text"] = upload.read().decode("utf-8-sig")
                except UnicodeDecodeError:
                    self.add_error("file", _("This file is not UTF-8 text."))
        if not data.get("text", "").strip() and not self.errors:
            self.add_error("text", _("Paste a server.json or choose a file."))
        return data


class AddressForm(forms.Form):
    """Where a remote server answers; it is asked what it is."""

    address = forms.CharField(
        label=_("Its address"),
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://mcp.example.com/mcp", "spellcheck": "false"}),
        help_text=_("Asked once, without any credential. Nothing is stored until you save the draft."),
    )


# --- 1 Identity and endpoint ------------------------------------------------------------------------------


class IdentityForm(ConfidentialForm):
    name = forms.CharField(
        label=_("Name"),
        max_length=200,
        help_text=_("Reverse-DNS with one slash, as its publisher writes it: com.example/warehouse-sql."),
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "none", "class": "input mono"}),
    )
    title = forms.CharField(label=_("Title"), required=False, max_length=100, help_text=_("What people call it."))
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    environment = forms.ChoiceField(label=_("Environment"), choices=Environment, initial=Environment.PRODUCTION)
    release = forms.CharField(label=_("Version"), required=False, max_length=255)
    repository_url = forms.URLField(label=_("Repository"), required=False, max_length=500, assume_scheme="https")
    website_url = forms.URLField(label=_("Website"), required=False, max_length=500, assume_scheme="https")


class EndpointForm(forms.Form):
    transport = forms.ChoiceField(
        label=_("Transport"), choices=[("", _("Choose…")), *Transport.choices], required=False
    )
    url = forms.CharField(
        label=_("URL"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"inputmode": "url", "spellcheck": "false", "placeholder": "https://"}),
    )
    package_registry = forms.CharField(
        label=_("Package from"),
        required=False,
        max_length=20,
        widget=forms.TextInput(attrs={"list": "package-registries"}),
    )
    package_identifier = forms.CharField(label=_("Package"), required=False, max_length=300)
    package_version = forms.CharField(label=_("Package version"), required=False, max_length=255)
    package_sha256 = forms.CharField(label=_("SHA-256"), required=False, max_length=64)


EndpointFormSet = formset_factory(EndpointForm, formset=RowFormSet, extra=1, can_delete=True, max_num=50)


# --- 2 People --------------------------------------------------------------------------------------------


class PeopleForm(ActorForm):
    owner = PersonField(
        label=_("Owner"),
        help_text=_("Who answers for this server. If that is not you, they have to accept."),
    )
    deputy = PersonField(label=_("Deputy"), help_text=_("Who stands in; somebody other than the owner."))
    team = forms.ModelChoiceField(
        Team.objects.all(), label=_("Team"), help_text=_("Stays responsible when both have left.")
    )
    operator = PersonField(
        label=_("Who runs it day to day"),
        required=False,
        help_text=_("Only when that is neither the owner nor the deputy. Like them, they never review it."),
    )


# --- 3 Purpose -------------------------------------------------------------------------------------------


class PurposeForm(forms.Form):
    statement = forms.CharField(
        label=_("Statement"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("For example: Answer sales and stock questions for analysts from the reporting warehouse."),
    )
    in_scope = LinesField(label=_("In scope"), required=False, help_text=_("One thing per line."))
    out_of_scope = LinesField(label=_("Out of scope"), required=False, help_text=_("What would be a misuse."))
    data_classes = forms.MultipleChoiceField(
        label=_("Data classes"),
        choices=DataClass,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Every class of data that may pass through."),
    )
    ends_on = DateField(label=_("Ends on"), help_text=_("At most two years ahead; then it must be thought over."))


# --- 4 Tools ---------------------------------------------------------------------------------------------

_CLASSES = [("", _("Not stated")), *ToolClass.choices]


class ToolForm(forms.Form):
    name = forms.CharField(
        label=_("Tool"), max_length=128, widget=forms.TextInput(attrs={"spellcheck": "false", "class": "input mono"})
    )
    description = forms.CharField(label=_("What it does"), required=False, max_length=500)
    claimed_class = forms.ChoiceField(label=_("Claims to"), choices=_CLASSES, required=False)
    confirmed_class = forms.ChoiceField(label=_("You confirm"), choices=_CLASSES, required=False)

    def __init__(self, *args: Any, described: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        """`described`: tools whose description came with a definition; people classify, they do not retype it."""
        super().__init__(*args, **kwargs)
        name = self.data.get(self.add_prefix("name"), "") if self.is_bound else self.initial.get("name", "")
        self.shown_description = (described or {}).get(name, "")
        if self.shown_description:
            del self.fields["description"]


ToolFormSet = formset_factory(ToolForm, formset=RowFormSet, extra=1, can_delete=True, max_num=500)


# --- 5 Systems -------------------------------------------------------------------------------------------


class ConnectionForm(ActorForm):
    """One system the server acts on: a known one, or a new one registered on the spot."""

    system = SystemField(label=_("System"), required=False)
    new_name = forms.CharField(label=_("Name of the new system"), required=False, max_length=120)
    new_kind = forms.ChoiceField(label=_("Kind"), choices=[("", _("Choose…")), *System.Kind.choices], required=False)
    new_data_class = forms.ChoiceField(
        label=_("Data class"), choices=[("", _("Choose…")), *DataClass.choices], required=False
    )
    access = forms.ChoiceField(label=_("Access"), choices=Connection.Access, initial=Connection.Access.READ)
    scopes = LinesField(
        label=_("Scopes"), required=False, rows=2, help_text=_("As the system calls them, one per line.")
    )
    valid_until = DateField(label=_("Until"), help_text=_("Every connection ends; it can be renewed."))
    reason = forms.CharField(label=_("Why it is needed"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "system" in self.errors:
            return data
        if data.get("system") and data.get("new_name"):
            self.add_error("new_name", _("Either choose a system or register a new one, not both."))
        elif not data.get("system") and not data.get("new_name"):
            self.add_error("system", _("Choose a system, or register a new one below."))
        elif data.get("new_name"):
            for name in ("new_kind", "new_data_class"):
                if not data.get(name):
                    self.add_error(name, _("A new system needs this."))
        if (until := data.get("valid_until")) and until <= clock.today():
            self.add_error("valid_until", _("Choose a date in the future."))
        return data

    def new_system(self) -> dict[str, Any] | None:
        """What to register, unless a known system was chosen."""
        data = self.cleaned_data
        if data.get("system"):
            return None
        return {"name": data["new_name"], "kind": data["new_kind"], "data_class": data["new_data_class"]}


# --- 6 Secret sources -------------------------------------------------------------------------------------


class SecretForm(forms.Form):
    kind = forms.ChoiceField(label=_("Kind"), choices=[("", _("Choose…")), *SecretSource.Kind.choices])
    reference = forms.CharField(
        label=_("Reference"), required=False, max_length=400, widget=forms.TextInput(attrs={"spellcheck": "false"})
    )
    name = forms.CharField(
        label=_("Used as"),
        required=False,
        max_length=120,
        help_text=_("For example DB_PASSWORD or the account's name."),
    )
    credential_type = forms.ChoiceField(
        label=_("Credential"),
        choices=[("", _("Choose…")), *SecretSource.CredentialType.choices],
        required=False,
        help_text=_("How long it lives: short-lived is better than rotated, rotated better than static."),
    )
    lifetime = forms.IntegerField(label=_("Lives at most"), required=False, min_value=1)
    lifetime_unit = forms.TypedChoiceField(
        label=_("Unit"), choices=list(LIFETIME_UNITS.items()), coerce=int, initial=3600, required=False
    )
    rotation_interval_days = forms.IntegerField(label=_("Rotated every … days"), required=False, min_value=1)
    last_rotated_on = DateField(label=_("Last rotated on"), required=False)
    revocable_by = forms.CharField(
        label=_("Revocable by"), required=False, max_length=200, help_text=_("Who can revoke it, and where.")
    )
    reason = forms.CharField(label=_("Why none is needed"), required=False, max_length=1000)

    def __init__(self, *args: Any, connections: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if connections:
            self.fields["connections"] = forms.MultipleChoiceField(
                label=_("Used for"),
                required=False,
                choices=list(connections),
                widget=forms.CheckboxSelectMultiple,
                help_text=_("The connections that use this credential."),
            )

    def has_changed(self) -> bool:
        """The unit alone, or a box ticked by default, does not make a row."""
        return bool({"kind", "reference", "name", "reason"} & set(self.changed_data))

    def facts(self) -> dict[str, Any]:
        """The row as `catalog.services.SecretSourceFacts`."""
        data = self.cleaned_data
        none = data["kind"] == SecretSource.Kind.NONE
        identity = data["kind"] == SecretSource.Kind.WORKLOAD_IDENTITY
        lifetime = data.get("lifetime")
        return {
            "kind": data["kind"],
            "reference": "" if none else data["reference"],
            "name": "" if none else data["name"],
            "credential_type": "" if none else (data["credential_type"] or ("workload_identity" if identity else "")),
            "max_lifetime_seconds": None if none or not lifetime else lifetime * (data["lifetime_unit"] or 3600),
            "rotation_interval_days": None if none else data["rotation_interval_days"],
            "last_rotated_on": None if none else data["last_rotated_on"],
            "revocable_by": "" if none else data["revocable_by"],
            "reason": data["reason"] if none else "",
        }


SecretFormSet = formset_factory(SecretForm, formset=RowFormSet, extra=0, can_delete=True, max_num=50)
SECRET_NAMES = {"max_lifetime_seconds": "lifetime"}


def secret_initial(source: SecretSource, connections: Iterable[Connection]) -> dict[str, Any]:
    """The row that shows `source`; the lifetime in the largest unit that divides it."""
    seconds = source.max_lifetime_seconds
    unit = next((size for size in sorted(LIFETIME_UNITS, reverse=True) if seconds and seconds % size == 0), 3600)
    return {
        "kind": source.kind,
        "reference": source.reference,
        "name": source.name,
        "credential_type": source.credential_type,
        "lifetime": seconds // unit if seconds and seconds % unit == 0 else None,
        "lifetime_unit": unit,
        "rotation_interval_days": source.rotation_interval_days,
        "last_rotated_on": source.last_rotated_on,
        "revocable_by": source.revocable_by,
        "reason": source.reason,
        "connections": [str(each.pk) for each in connections if each.secret_source_id == source.pk],
    }


# --- 7 Revocation path ------------------------------------------------------------------------------------


class RevocationStepForm(forms.Form):
    position = forms.IntegerField(label=_("Order"), required=False, min_value=1, max_value=99)
    instruction = forms.CharField(label=_("What is done"), max_length=500)
    executor = forms.ChoiceField(
        label=_("How"), choices=RevocationStep.Executor, initial=RevocationStep.Executor.MANUAL
    )
    responsible = forms.CharField(label=_("Who"), max_length=200, help_text=_("A person, a team or an on-call rota."))
    expected_minutes = forms.IntegerField(label=_("Minutes"), min_value=1, max_value=10080)

    def has_changed(self) -> bool:
        return bool({"instruction", "responsible", "expected_minutes"} & set(self.changed_data))


class RevocationFormSetBase(RowFormSet):
    @property
    def filled(self) -> list[Any]:
        """In the order the numbers say; rows without a number follow in the order of the page."""
        return sorted(super().filled, key=lambda form: form.cleaned_data.get("position") or 1000)

    def rows(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "position"} for row in super().rows()]


RevocationFormSet = formset_factory(
    RevocationStepForm, formset=RevocationFormSetBase, extra=1, can_delete=True, max_num=50
)


def default_end(days: int = 365) -> Any:
    """A date one may keep: most purposes and connections are thought over once a year."""
    return clock.today() + timedelta(days=days)


def tool_initial(server: Server) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Rows for the server's tools, and the descriptions that came with a definition."""
    tools = list(server.tools.filter(retired_at=None))
    rows = [
        {
            "name": tool.name,
            "description": tool.description,
            "claimed_class": tool.claimed_class,
            "confirmed_class": tool.confirmed_class,
        }
        for tool in tools
    ]
    return rows, {tool.name: tool.description for tool in tools if tool.definition and tool.description}
