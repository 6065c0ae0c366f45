"""Forms of the accounts pages; the field names are those of the services, so that refusals land on their fields."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Role, Team, User
from registry.accounts.permissions import SCOPES
from registry.accounts.services import MAX_TOKEN_DAYS

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


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=120,
        help_text=_("Where it will be used, for example: nightly export, CI of team data."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=[(scope, f"{words.capitalize()} ({scope})") for scope, words in SCOPES.items()],
        widget=forms.CheckboxSelectMultiple(attrs={"class": "pairs"}),
        help_text=_("A token may do what both its scopes and you may. Give it the fewest that suffice."),
    )
    days = forms.IntegerField(
        label=_("Valid for days"),
        initial=90,
        min_value=1,
        max_value=MAX_TOKEN_DAYS,
        help_text=_("Every token ends. 365 days at most."),
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
        help_text=_("Only where people sign in with passwords. They can change it in their account."),
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
