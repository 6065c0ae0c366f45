"""What an event is about when it is about no row."""

from uuid import NAMESPACE_URL, uuid5


class Page:
    """A page that is about no single thing, as the subject of a look at it."""

    subject_type = "page"

    def __init__(self, name: str) -> None:
        self.name = name
        self.pk = uuid5(NAMESPACE_URL, f"page:{name}")

    def __str__(self) -> str:
        return self.name


LOG = Page("audit log")
"""The log itself: its keys and its anchors."""
