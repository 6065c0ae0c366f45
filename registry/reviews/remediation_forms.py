"""Forms about what becomes of a remediation. They shape input; whether it is acceptable is decided by the services."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from django import forms
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from registry.reviews.cadence import end_of_day


class VersionedForm(forms.Form):
    """Says which version of the record its page showed, so that two people do not overwrite each other."""

    version = forms.CharField(widget=forms.HiddenInput, required=False)


class ConfirmForm(VersionedForm):
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


class ReportForm(VersionedForm):
    reference = forms.CharField(
        label=_("Ticket or change"),
        max_length=300,
        help_text=_("By which it can be found, for example CHG-20931. It proves nothing: somebody else has to look."),
    )


class RetryForm(VersionedForm):
    """`channels` are the names the executors brought."""

    channel = forms.ChoiceField(label=_("Who acts besides the registry"))
    instruction = forms.CharField(
        label=_("What has to be done outside"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("For example: delete the API key of the service account in the vendor's console."),
    )

    def __init__(self, *args: Any, channels: Sequence[tuple[str, Any]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["channel"].choices = list(channels)  # type: ignore[attr-defined]


class ObjectionForm(VersionedForm):
    reason = forms.CharField(
        label=_("What would break, or why the decision was wrong"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )


class ObjectionAnswerForm(VersionedForm):
    upheld = forms.TypedChoiceField(
        label=_("Is the objection right?"),
        choices=[
            ("yes", _("Yes: do not take it away, review it once more")),
            ("no", _("No: take it away now")),
        ],
        coerce=lambda value: value == "yes",
        widget=forms.RadioSelect,
    )
    answer = forms.CharField(label=_("Why"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))


class ExceptionForm(VersionedForm):
    """`last_day` is the latest the tier allows."""

    reason = forms.CharField(
        label=_("Why it cannot be taken away now"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )
    compensating_control = forms.CharField(
        label=_("What limits the risk meanwhile"), max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )
    expires_at = forms.DateField(label=_("Until"), widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, *args: Any, last_day: date | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if last_day is not None:
            field = self.fields["expires_at"]
            field.widget.attrs["max"] = last_day.isoformat()
            field.help_text = _("At the latest %(day)s.") % {"day": date_format(last_day, "j F Y")}

    def clean_expires_at(self) -> datetime:
        """The instant that day ends: deadlines are instants."""
        return end_of_day(self.cleaned_data["expires_at"])


class ExceptionAnswerForm(VersionedForm):
    approved = forms.TypedChoiceField(
        label=_("May it stay for this time?"),
        choices=[("yes", _("Yes, until that day")), ("no", _("No, it has to go"))],
        coerce=lambda value: value == "yes",
        widget=forms.RadioSelect,
    )
    reason = forms.CharField(
        label=_("Why not"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("Only when you refuse it."),
    )


class EndExceptionForm(VersionedForm):
    reason = forms.CharField(
        label=_("Why it is no longer needed"), max_length=300, widget=forms.Textarea(attrs={"rows": 2})
    )
