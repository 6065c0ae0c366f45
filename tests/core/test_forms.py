"""What a service refuses appears beside its field, and what was typed stays."""

import pytest
from django import forms

from registry.core.errors import Changed, Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, SecretRefused
from registry.core.forms import apply_error, run, status_of


class PurposeForm(forms.Form):
    statement = forms.CharField()
    ends_on = forms.CharField(required=False)


def bound(**data):
    return PurposeForm({"statement": "Answer questions", **data})


def refusing(error):
    def act(**data):
        raise error

    return act


def test_the_service_gets_the_cleaned_fields():
    assert run(bound(ends_on="soon"), lambda **data: data) == {"statement": "Answer questions", "ends_on": "soon"}


def test_an_invalid_form_never_reaches_the_service():
    form = PurposeForm({})
    assert run(form, refusing(AssertionError("called"))) is None
    assert status_of(form) == 422


def test_messages_land_on_their_fields():
    form = bound()
    assert run(form, refusing(Invalid(fields={"ends_on": ["Too far away."]}))) is None
    assert form.errors == {"ends_on": ["Too far away."]} and status_of(form) == 422


def test_a_nested_path_finds_the_field_at_its_end():
    form = bound()
    run(form, refusing(Invalid(fields={"purpose.ends_on": ["Too far away."]})))
    assert form.errors["ends_on"] == ["Too far away."]


def test_what_has_no_field_goes_on_top_with_its_name():
    form = bound()
    run(form, refusing(SecretRefused(fields={"headers.0": ["Looks like a token."]})))
    assert form.non_field_errors() == ["headers.0: Looks like a token."]


@pytest.mark.parametrize(
    ("error", "status"), [(Conflict("Taken."), 409), (Changed("Look again."), 412), (NotAllowed("No."), 403)]
)
def test_a_refusal_without_fields_goes_on_top_under_its_status(error, status):
    form = bound()
    assert run(form, refusing(error)) is None
    assert form.non_field_errors() == [error.message] and status_of(form) == status


@pytest.mark.parametrize("error", [NotFound(), NotSignedIn()])
def test_what_is_no_matter_of_the_form_passes_through(error):
    with pytest.raises(type(error)):
        run(bound(), refusing(error))


def test_a_fresh_form_is_fine():
    assert status_of(PurposeForm()) == 200


def test_an_error_can_be_applied_by_hand():
    form = bound()
    form.is_valid()
    apply_error(form, Invalid(fields={"statement": ["Vague.", "Short."]}))
    assert form.errors["statement"] == ["Vague.", "Short."]
