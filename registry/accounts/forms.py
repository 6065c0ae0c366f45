"""Forms of the accounts pages; the field names are those of the services, so that refusals land on their fields."""

import json
from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from registry.accounts.models import ApiToken, Role, ServicePrincipal, Team, User, WorkloadIssuer
from registry.accounts.models.workloads import ALGORITHMS
from registry.accounts.services import MAX_HOURS, MAX_OVERLAP_HOURS, MAX_TOKEN_DAYS
from registry.core import scopes

ROOM_WORDS = {
    "accounts": _("People and machines"),
    "audit": _("Audit trail"),
    "catalog": _("Catalog"),
    "discovery": _("Discovery"),
    "reviews": _("Reviews"),
    "trust": _("Trust"),
}
ROLE_HELP = {
    Role.MEMBER: _("Reads the catalog, registers servers, asks for access."),
    Role.REVIEWER: _("Decides on intake and recertification, never on their own things."),
    Role.CAMPAIGN_MANAGER: _("Plans and launches campaigns, reminds and reassigns."),
    Role.SECURITY: _("Sees what is confidential, suspends, resumes, overrides tiers."),
    Role.AUDITOR: _("Reads everything, also the whole audit trail; changes nothing."),
    Role.ADMINISTRATOR: _("Manages people, roles and teams."),
}


class SignInForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail"), widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class ConfirmForm(forms.Form):
    password = forms.CharField(
        label=_("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class PreferencesForm(forms.Form):
    single_keys = forms.BooleanField(
        label=_("Single-key shortcuts"),
        required=False,
        help_text=_("Keys such as j, k or g s act at once. They never fire while you type."),
    )


class PasswordForm(forms.Form):
    current_password = forms.CharField(
        label=_("Current password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    new_password = forms.CharField(
        label=_("New password"),
        strip=False,
        help_text=_("At least 12 characters, and not one of the common ones."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    repeated = forms.CharField(
        label=_("New password again"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("new_password") and data.get("repeated") and data["new_password"] != data["repeated"]:
            self.add_error("repeated", _("The two new passwords differ."))
        data.pop("repeated", None)
        return data


def scope_choices() -> list[tuple[str, str]]:
    """Asked when a form is drawn: by then every room has named its resources."""
    return [(scope, scope) for scope in scopes.known()]


class ScopeGrid(forms.CheckboxSelectMultiple):
    """One row per resource, reading and writing side by side, under its room with the two that stand for all."""

    template_name = "accounts/_scope_grid.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        options = {
            option["value"]: option for _group, options, _n in context["widget"]["optgroups"] for option in options
        }
        rows: list[tuple[bool, Any, list[Any]]] = []
        for room in scopes.rooms():
            rows.append((True, ROOM_WORDS.get(room, room), [options.pop(f"{room}:{act}", None) for act in scopes.MORE]))
            own = [each for each in scopes.resources() if each.room == room]
            rows += [(False, each.words, [options.pop(each.scope(act), None) for act in scopes.MORE]) for each in own]  # type: ignore[arg-type]
        context["widget"] |= {"rows": rows, "apart": [(scopes.known()[name], each) for name, each in options.items()]}
        return context


class ScopesField(forms.MultipleChoiceField):
    def __init__(self, **options: Any) -> None:
        super().__init__(label=_("Scopes"), choices=scope_choices, widget=ScopeGrid, **options)


class LinesField(forms.CharField):
    """One entry per line, as a list."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in super().clean(value).replace(",", "\n").splitlines() if line.strip()]


class ClaimsField(forms.CharField):
    """`name=text` per line, or `name:=1` and `name:=true` for what is no text in the token."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return "\n".join(
            f"{name}={said}" if isinstance(said, str) else f"{name}:={json.dumps(said)}" for name, said in value.items()
        )

    def clean(self, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for line in filter(None, (line.strip() for line in super().clean(value).splitlines())):
            name, equal, said = line.partition("=")
            if not equal or not name.rstrip(":").strip():
                raise forms.ValidationError(_("Write name=value, one per line."))
            literal = name.endswith(":")
            try:
                found[name.rstrip(":").strip()] = json.loads(said) if literal else said.strip()
            except ValueError:
                raise forms.ValidationError(_("After := stands a number, true or false.")) from None
        return found


def _networks_field() -> LinesField:
    return LinesField(
        label=_("Only from these networks"),
        help_text=_("One per line: 10.20.0.0/16 or 192.0.2.7. Empty: from anywhere."),
    )


def _days_field() -> forms.IntegerField:
    return forms.IntegerField(
        label=_("Valid for days"),
        initial=90,
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        help_text=_("Every token ends. 365 days at most."),
    )


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=120,
        help_text=_("Where it will be used, for example: nightly export, CI of team data."),
    )
    purpose = forms.CharField(
        label=_("Purpose"),
        required=False,
        max_length=500,
        help_text=_("What it does with this, for whoever looks at it in a year."),
    )
    days = _days_field()
    networks = _networks_field()
    scopes = ScopesField(
        help_text=_("A token may do what both its scopes and you may. Give it the fewest that suffice."),
    )


class TokenEditForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    purpose = forms.CharField(label=_("Purpose"), required=False, max_length=500)
    networks = _networks_field()
    scopes = ScopesField(help_text=_("Only fewer than it has. Who needs more makes another token."))

    @classmethod
    def about(cls, token: ApiToken) -> "TokenEditForm":
        names = ("name", "purpose", "networks", "scopes")
        return cls(initial={name: getattr(token, name) for name in names})


class RotationForm(forms.Form):
    overlap_hours = forms.IntegerField(
        label=_("Old secret stays good for hours"),
        initial=24,
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        help_text=_("Time to bring the new one everywhere. 0 when the old one may be known to others."),
    )
    days = _days_field()


class WorkloadIssuerForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("For example: cluster eu-1, GitHub Actions."))
    issuer = forms.CharField(
        label=_("Issuer"),
        max_length=400,
        help_text=_("Exactly as its tokens say it (iss), an https address."),
        widget=forms.URLInput(attrs={"placeholder": "https://token.actions.githubusercontent.com"}),
    )
    audience = forms.CharField(
        label=_("Audience"),
        required=False,
        max_length=400,
        help_text=_("Exactly what its tokens are made for (aud). Empty: the address of this registry."),
    )
    jwks_uri = forms.CharField(
        label=_("Address of its keys"),
        required=False,
        max_length=400,
        widget=forms.URLInput(),
        help_text=_("Empty: where the issuer's own description says."),
    )
    trust_domain = forms.CharField(
        label=_("SPIFFE trust domain"),
        required=False,
        max_length=255,
        help_text=_("When its workloads have SPIFFE ids: the only domain it vouches for."),
    )
    algorithms = forms.MultipleChoiceField(
        label=_("Signed with"),
        choices=[(name, name) for name in ALGORITHMS],
        initial=list(ALGORITHMS),
        widget=forms.CheckboxSelectMultiple(attrs={"class": "pairs"}),
    )

    @classmethod
    def about(cls, issuer: WorkloadIssuer, data: Any = None) -> "WorkloadIssuerForm":
        form = cls(data, initial={name: getattr(issuer, name) for name in cls.base_fields})
        form.fields["issuer"].disabled = True
        return form


class PrincipalForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("What evidence calls it: nightly-export."))
    purpose = forms.CharField(
        label=_("Purpose"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}), help_text=_("What it does here.")
    )
    issuer = forms.ModelChoiceField(
        label=_("Issuer"),
        queryset=WorkloadIssuer.objects.filter(state=WorkloadIssuer.State.ACTIVE),
        empty_label=_("Choose who vouches for it"),
    )
    subject = forms.CharField(
        label=_("Subject"),
        max_length=500,
        help_text=_(
            "Exactly the sub of its tokens, or its SPIFFE id. Other subjects may end in * after : or /, for example "
            "repo:acme/reports:*"
        ),
        widget=forms.TextInput(attrs={"placeholder": "system:serviceaccount:reports:nightly", "spellcheck": "false"}),
    )
    claims = ClaimsField(
        label=_("Claims that must be equal"),
        help_text=_("One per line: environment=production. Needed where a subject ends in *."),
    )
    audience = forms.CharField(
        label=_("Audience"), required=False, max_length=400, help_text=_("Only where it differs from the issuer's.")
    )
    owner = forms.ModelChoiceField(
        label=_("Owner"),
        queryset=User.objects.filter(is_active=True),
        required=False,
        empty_label=_("Myself"),
        help_text=_("Who answers for it, and whose roles bound it. Somebody else has to accept it first."),
    )
    team = forms.ModelChoiceField(
        label=_("Team"), queryset=Team.objects.filter(removed_at=None), required=False, empty_label=_("None")
    )
    networks = _networks_field()
    scopes = ScopesField(help_text=_("It may do what both its scopes and its owner may."))

    def __init__(self, data: Any = None, *, may_assign: bool, principal: ServicePrincipal | None = None) -> None:
        names = self.base_fields if principal is not None else ()
        super().__init__(data, initial={name: getattr(principal, name) for name in names})
        if not may_assign:
            del self.fields["owner"]
        elif principal is not None:
            self.fields["owner"].required = True


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2})
    )


def _roles_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=_("Roles"),
        required=False,
        choices=[(role.value, f"{role.label}: {ROLE_HELP[role]}") for role in Role],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Without any role somebody can sign in and sees nothing."),
    )


class PersonForm(forms.Form):
    email = forms.EmailField(label=_("E-mail"))
    name = forms.CharField(label=_("Name"), max_length=120)
    roles = _roles_field()
    password = forms.CharField(
        label=_("First password"),
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Only where people sign in with passwords. They have to choose their own when they first sign in."),
    )


class RolesForm(forms.Form):
    roles = _roles_field()


class TeamForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    slug = forms.SlugField(label=_("Short name"), max_length=60, help_text=_("For URLs and filters: data-platform."))
    lead = forms.ModelChoiceField(
        label=_("Lead"), required=False, queryset=User.objects.filter(is_active=True), empty_label=_("Nobody yet")
    )


class MembersForm(forms.Form):
    """Lead and members of one team; one e-mail per line, so that it also works for a team of eighty."""

    lead = TeamForm.base_fields["lead"]
    members = forms.CharField(
        label=_("Members"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "code"}),
        help_text=_("One e-mail address per line."),
    )

    def __init__(self, data: Any = None, *, team: Team) -> None:
        emails = team.members.order_by("email").values_list("email", flat=True)
        super().__init__(data, initial={"lead": team.lead_id, "members": "\n".join(emails)})

    def clean_members(self) -> list[User]:
        emails = list(dict.fromkeys(self.cleaned_data["members"].lower().replace(",", " ").split()))
        found = {user.email.lower(): user for user in User.objects.filter(email__in=emails, is_active=True)}
        if unknown := [email for email in emails if email not in found]:
            raise forms.ValidationError(
                _("Nobody active here has the address %(emails)s."), params={"emails": ", ".join(unknown)}
            )
        return [found[email] for email in emails]


class GroupRoleForm(forms.Form):
    provider = forms.ChoiceField(label=_("Where the group is"), required=False)
    group = forms.CharField(
        label=_("Group"), max_length=255, help_text=_("Exactly as it is sent: a name, or an id where ids are sent.")
    )
    role = forms.ChoiceField(
        label=_("Role"), choices=[(role.value, f"{role.label}: {ROLE_HELP[role]}") for role in Role]
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["provider"]
        field.choices = [
            ("", _("Anywhere")),
            *((name, provider.title) for name, provider in settings.OIDC_PROVIDERS.items()),
            ("scim", _("Directory (SCIM)")),
        ]


class EmergencyForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"))
    hours = forms.TypedChoiceField(
        label=_("For"),
        coerce=int,
        choices=[(n, ngettext_lazy("%d hour", "%d hours", n) % n) for n in range(1, MAX_HOURS + 1)],
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Security and administrators get it by mail at once; somebody else reviews what you did."),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [each for each in Role.choices if each[0] not in user.roles]  # type: ignore[attr-defined]


class FindingForm(forms.Form):
    finding = forms.CharField(label=_("What you found"), max_length=500, widget=forms.Textarea(attrs={"rows": 2}))
