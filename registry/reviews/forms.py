"""Forms of the review pages. They shape input; whether it is acceptable is decided by the services."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from registry.accounts.browser import note_proof, provider_of
from registry.accounts.models import User
from registry.core.http import Request
from registry.reviews.pools import possible_reviewers
from registry.reviews.services.items import Candidates


class LaunchForm(forms.Form):
    period = forms.CharField(
        label=_("Period"), max_length=40, help_text=_("One campaign per template and period, for example 2026-Q4.")
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Kept as evidence and shown on the page."),
    )


class ExtendForm(ReasonForm):
    until = forms.DateField(label=_("New deadline"), widget=forms.DateInput(attrs={"type": "date"}))
    field_order = ("until", "reason")


class RecuseForm(forms.Form):
    reason = forms.CharField(
        label=_("What keeps you from deciding this"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_(
            "A conflict of interest is an answer too. Somebody independent gets the item; where nobody is left, the "
            "campaign's owner is told."
        ),
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)


class ReviewerChoice(forms.Select):
    """People to choose from, and below them those who cannot be chosen, each with the reason."""

    barred: Sequence[tuple[User, str]] = ()

    def optgroups(self, name: str, value: list[Any], attrs: dict[str, Any] | None = None) -> list[Any]:
        groups: list[Any] = super().optgroups(name, value, attrs)
        if self.barred:
            options = [
                {**self.create_option(name, "", f"{user.name} ({why})", False, place), "attrs": {"disabled": True}}
                for place, (user, why) in enumerate(self.barred)
            ]
            groups.append((_("Cannot take it"), options, len(groups)))
        return groups


class HandOverForm(forms.Form):
    """`candidates` says who may get the item, and why others may not."""

    to = forms.ModelChoiceField(
        User.objects.none(), label=_("To"), empty_label=_("Choose somebody"), widget=ReviewerChoice
    )
    note = forms.CharField(
        label=_("Note"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What they should know, in at most 2000 characters."),
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, candidates: Candidates, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["to"]
        # Sent all the same, somebody barred is refused by the service, which says why.
        field.queryset = possible_reviewers()
        field.choices = [("", field.empty_label), *((user.pk, user.name) for user in candidates.able)]
        field.widget.barred = candidates.barred
        if not candidates.able:
            field.help_text = _(
                "Nobody who reviews may take it. An administrator can give somebody independent the role reviewer."
            )


class AssignForm(forms.Form):
    """One person for several items; whether they may have each is asked of each."""

    to = forms.ModelChoiceField(User.objects.none(), label=_("To"), empty_label=_("Choose somebody"))
    note = forms.CharField(
        label=_("Note"),
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What they should know, in at most 2000 characters."),
    )
    every = forms.BooleanField(
        label=_("All of them, also those on other pages"), required=False, widget=forms.CheckboxInput
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["to"]
        field.queryset = possible_reviewers().order_by("name", "pk")
        field.label_from_instance = lambda user: user.name


class SignedForm(forms.Form):
    """A signature asks for the password once more; failures count like failed sign-ins.

    Whoever is here through an identity provider has no password: for them the service asks for a recent proof, and the
    page sends them to the provider when it is too old (core.step_up).
    """

    password = forms.CharField(
        label=_("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text=_("Asked again because a signature cannot be taken back."),
    )

    def __init__(self, *args: Any, request: Request, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        if provider_of(request):
            del self.fields["password"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "password" not in self.fields:
            data["password"] = f"oidc:{provider_of(self.request)}"
        return data

    @sensitive_variables("password")
    def clean_password(self) -> str:
        """The password is checked and goes nowhere: what is left of it is how the person was authenticated."""
        password = self.cleaned_data["password"]
        try:
            user = authenticate(self.request, username=self.request.actor.user.email, password=password)
        except PermissionDenied:
            user = None
        if user is None or user.pk != self.request.actor.user_id:
            raise ValidationError(_("This is not your password. Mind capital letters."), code="password")
        note_proof(self.request)
        return "password"


class SignOffForm(SignedForm):
    statement = forms.CharField(
        label=_("Statement"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        initial=_("I have looked at the evidence of each item and decided independently."),
    )
    field_order = ("statement", "password")


class IntakeForm(SignedForm):
    value = forms.ChoiceField(choices=[("certify", _("Activate")), ("return", _("Return with reasons"))])
    reason = forms.CharField(required=False, max_length=4000)
    evidence_hash = forms.CharField()
    version = forms.CharField(required=False)


class DecisionForm(forms.Form):
    """What the decision pane sends; the page itself renders the controls."""

    value = forms.CharField(error_messages={"required": _("Choose a decision.")})
    reason = forms.CharField(required=False, max_length=4000)
    kept = forms.Field(required=False)
    until = forms.DateField(required=False)
    evidence_hash = forms.CharField()
    version = forms.CharField(required=False)
    shown = forms.DateTimeField(required=False)

    def clean_kept(self) -> list[str]:
        return self.data.getlist("kept")  # type: ignore[attr-defined]


class QualityForm(forms.Form):
    """The word of a second person on a hasty set of decisions."""

    reason = forms.CharField(
        label=_("What you looked at, and why these decisions may stand"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Kept as evidence beside the signature."),
    )


class BulkForm(forms.Form):
    """One answer for several equal items; the page itself renders the controls and names the items."""

    value = forms.CharField(error_messages={"required": _("Choose a decision.")})
    reason = forms.CharField(required=False, max_length=4000)
    kept = forms.Field(required=False)
    until = forms.DateField(required=False)

    def clean_kept(self) -> list[str]:
        return self.data.getlist("kept")  # type: ignore[attr-defined]
