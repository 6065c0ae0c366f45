"""How a list's filters look on a page: several choices in a small menu, and what is chosen as chips one can drop."""

from dataclasses import dataclass
from typing import Any

from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django_filters import FilterSet

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
