"""How a list's filters look on a page: several choices in a small menu, and what is chosen as chips one can drop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django_filters import FilterSet
from django_filters.rest_framework import DjangoFilterBackend

from registry.core.errors import Invalid

PAGING = ("older", "newer")


class ChoiceMenu(CheckboxSelectMultiple):
    """A menu of ticks that opens without a script and takes the room of a select."""

    template_name = "components/_choice_menu.html"

    def id_for_label(self, id_: str, index: str | None = None) -> str:
        return super().id_for_label(id_, index) or id_


@dataclass(frozen=True)
class Chosen:
    """One active filter; `without` is the list's address without it."""

    label: "str | Promise"
    word: str
    without: str


def _address(request: HttpRequest, query: QueryDict) -> str:
    return f"{request.path}?{query.urlencode()}" if query else request.path


def chosen(filterset: FilterSet, request: HttpRequest) -> list[Chosen]:
    """What narrows the list down, in the order of the filters."""
    found = []
    for name, filter_ in filterset.filters.items():
        values = [value for value in request.GET.getlist(name) if value]
        words = dict(_words(filterset.form.fields[name])) if values else {}
        for value in values:
            query = request.GET.copy()
            query.setlist(name, [other for other in query.getlist(name) if other != value])
            for paging in PAGING:
                query.pop(paging, None)
            found.append(Chosen(filter_.label, words.get(value, value), _address(request, query)))
    return found


def _words(field: Any) -> list[tuple[str, str]]:
    """Value and word of every choice, groups opened."""
    pairs: list[tuple[str, str]] = []
    for value, word in getattr(field, "choices", ()):
        if isinstance(word, list | tuple):
            pairs += [(str(inner), str(said)) for inner, said in word]
        else:
            pairs.append((str(value), str(word)))
    return pairs


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `Invalid` for a query parameter that is none: a misspelt filter must not answer "everything"."""
    if unknown := set(given) - set(known):
        there_are = f"No such filter. There are: {', '.join(sorted(known))}."
        raise Invalid(fields={name: [there_are] for name in unknown})


class StrictFilterSet(FilterSet):
    """A filter that is wrong finds nothing: a misspelt date must not answer everything."""

    @property
    def qs(self) -> Any:
        return super().qs if not self.is_bound or self.is_valid() else self.queryset.none()

    @property
    def wrong(self) -> list[tuple[str, str]]:
        """The name of each filter that cannot be read, and why; for the page."""
        if not self.is_bound:
            return []
        fields = self.form.fields
        return [
            (str(fields[name].label or name) if name in fields else "", str(message))
            for name, messages in self.errors.items()
            for message in messages
        ]

    def answered(self) -> Any:
        """The rows for a file or a program, which nobody reads an error beside. Raises `Invalid`."""
        if self.is_bound and not self.is_valid():
            raise Invalid(fields={name: [str(each) for each in found] for name, found in self.errors.items()})
        return super().qs


class StrictFilterBackend(DjangoFilterBackend):
    """Filters of a resource; a query parameter that is none is refused."""

    KNOWN = frozenset({"cursor", "limit", "format"})

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        filterset_class = self.get_filterset_class(view, queryset)
        known = self.KNOWN | set(filterset_class.base_filters if filterset_class else ())
        if view.action == "list":
            refuse_unknown(request.query_params, known)
        return super().filter_queryset(request, queryset, view)
