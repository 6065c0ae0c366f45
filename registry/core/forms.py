"""From a form to one service call and back: validate, act, and put what the service refuses beside its field."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from registry.core.errors import NotFound, NotSignedIn, RegistryError, SecretRefused, StepUpRequired
from registry.core.secrets import redact

T = TypeVar("T")


def apply_error(form: BaseForm, error: RegistryError) -> None:
    """Put each of `error.fields` on the form's field of that name; what the form has no field for goes on top.

    `purpose.ends_on` also finds the field `ends_on`. Without fields, the message itself goes on top.
    """
    form.refused_with = error.status  # type: ignore[attr-defined]
    for path, messages in error.fields.items():
        name = next((name for name in (path, path.rpartition(".")[2]) if name in form.fields), None)
        for message in messages:
            form.add_error(name, message if name else f"{path}: {message}")
        if name and isinstance(error, SecretRefused):
            hide_secrets(form, name)
    if not error.fields:
        form.add_error(None, error.message)


def hide_secrets(form: BaseForm, name: str, *, entirely: bool = True) -> None:
    """Take secrets out of what the form shows again. What was refused but cannot be told apart goes `entirely`."""
    key = form.add_prefix(name)
    text = str(form.data.get(key, ""))
    redacted = redact(text)
    data = QueryDict(mutable=True)
    data.update(form.data)
    data[key] = "" if entirely and redacted == text else redacted
    form.data = data


def run(form: BaseForm, act: Callable[..., T]) -> T | None:
    """`act(**form.cleaned_data)` if the form is valid; None when it is not or the service refuses, errors on the form.

    `if request.method == "POST" and (team := run(form, partial(create_team, actor=request.actor))): …redirect…`,
    then `answer(request, template, form)`. A thing one may not see stays a 404, a missing session goes to
    sign-in, an old one to the page that asks who it is.
    """
    if not form.is_valid():
        return None
    try:
        return act(**form.cleaned_data)
    except (NotFound, NotSignedIn, StepUpRequired):
        raise
    except RegistryError as error:
        apply_error(form, error)
        return None


def status_of(form: BaseForm) -> int:
    """200 for a fresh form; for a refused one the service's status, or 422 when the form itself is not valid."""
    if not form.is_bound or not form.errors:
        return 200
    return int(getattr(form, "refused_with", 422))


def answer(request: HttpRequest, template: str, form: BaseForm, context: dict[str, Any] | None = None) -> HttpResponse:
    """The page with its form, under the status that fits."""
    return render(request, template, {"form": form, **(context or {})}, status=status_of(form))
