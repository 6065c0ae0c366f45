"""Forms of the review pages. They shape input; whether it is acceptable is decided by the services."""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from registry.accounts.models import Team, User
from registry.catalog.models import Environment, Tier
from registry.catalog.states import Lifecycle
from registry.core.filtering import ChoiceMenu
from registry.core.http import Request
from registry.reviews.models import SubjectKind, Template, TemplateStage
from registry.reviews.population import possible_reviewers
from registry.trust.states import Status

SCOPE_FIELDS = ("tier", "environment", "team", "lifecycle", "status", "q")


class TemplateForm(forms.Form):
    """What to review, by whom and when. The scope's fields become one filter."""

    name = forms.CharField(
        label=_("Name"), max_length=120, help_text=_("Campaigns are called this, with their period.")
    )
    kinds = forms.MultipleChoiceField(
        label=_("What is reviewed"),
        choices=SubjectKind.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=list(SubjectKind.values),
    )
    tier = forms.MultipleChoiceField(label=_("Tier"), choices=Tier.choices, required=False, widget=ChoiceMenu)
    environment = forms.MultipleChoiceField(
        label=_("Environment"), choices=Environment.choices, required=False, widget=ChoiceMenu
    )
    team = forms.ModelMultipleChoiceField(Team.objects.all(), label=_("Team"), required=False, widget=ChoiceMenu)
    lifecycle = forms.MultipleChoiceField(
        label=_("Servers that are"),
        choices=[(state.value, state.label) for state in (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)],
        required=False,
        widget=ChoiceMenu,
        help_text=_("None chosen means active."),
    )
    status = forms.MultipleChoiceField(
        label=_("Relationships that are"),
        choices=[(state.value, state.label) for state in (Status.ACTIVE, Status.SUSPENDED)],
        required=False,
        widget=ChoiceMenu,
        help_text=_("None chosen means active."),
    )
    q = forms.CharField(label=_("Name contains"), required=False, max_length=100)
    reviewer_rule = forms.ChoiceField(
        label=_("Who reviews"), choices=TemplateStage.ReviewerRule.choices, widget=forms.RadioSelect, initial="pool"
    )
    reviewers = forms.ModelMultipleChoiceField(
        User.objects.none(),
        label=_("Reviewer pool"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Nobody chosen means everybody with the role reviewer."),
    )
    cadence_days = forms.IntegerField(label=_("Repeat after days"), min_value=1, initial=90)
    duration_days = forms.IntegerField(label=_("Days to decide"), min_value=1, initial=14)
    next_run_on = forms.DateField(
        label=_("Launch by itself on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("Empty: only when somebody launches it."),
    )
    instructions = forms.CharField(
        label=_("Instructions for reviewers"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    enabled = forms.BooleanField(label=_("Switched on"), required=False, initial=True)
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reviewers"].queryset = possible_reviewers()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        scope = {name: cleaned.pop(name, None) for name in SCOPE_FIELDS}
        scope["team"] = [str(team.pk) for team in scope["team"] or ()]
        cleaned["scope"] = scope
        stage = {name: cleaned.pop(name, None) for name in ("reviewer_rule", "reviewers", "duration_days")}
        cleaned["stages"] = [{**stage, "reviewers": list(stage["reviewers"] or ())}]
        return cleaned

    @staticmethod
    def initial_of(template: Template) -> dict[str, Any]:
        return {
            **{name: getattr(template, name) for name in (
                "name", "kinds", "cadence_days", "next_run_on", "instructions", "enabled",
            )},
            **template.scope,
            "reviewer_rule": template.first_stage.reviewer_rule,
            "duration_days": template.first_stage.duration_days,
            "reviewers": list(template.first_stage.reviewers.all()),
            "version": template.etag,
        }  # fmt: skip


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
        help_text=_("A conflict of interest is an answer too. Somebody independent gets the item."),
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)


class HandOverForm(forms.Form):
    to = forms.ModelChoiceField(User.objects.none(), label=_("To"), empty_label=_("Choose somebody"))
    note = forms.CharField(
        label=_("Note"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What they should know."),
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["to"].queryset = possible_reviewers()  # type: ignore[attr-defined]


class SignedForm(forms.Form):
    """A signature asks for the password once more; failures count like failed sign-ins."""

    password = forms.CharField(
        label=_("Your password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text=_("Asked again because a signature cannot be taken back."),
    )

    def __init__(self, *args: Any, request: Request, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

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
    opened = forms.DateTimeField(required=False)

    def clean_kept(self) -> list[str]:
        return self.data.getlist("kept")  # type: ignore[attr-defined]


class ConfirmForm(forms.Form):
    """What a second person saw of a remediation."""

    proof = forms.CharField(
        label=_("What you looked at and what you saw"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("For example: the gateway answers 403 to its token, 22 November 14:02."),
    )
    effective = forms.TypedChoiceField(
        label=_("Did it take effect?"),
        choices=[("yes", _("Yes, the access is gone")), ("no", _("No, it still works"))],
        coerce=lambda value: value == "yes",
        widget=forms.RadioSelect,
    )
    version = forms.CharField(widget=forms.HiddenInput, required=False)
