"""Template context every page needs: who acts, the theme, and whether this is the embedded demo profile."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

THEMES = ("light", "dark")


def shell(request: HttpRequest) -> dict[str, Any]:
    theme = request.COOKIES.get("theme", "")
    return {
        "actor": getattr(request, "actor", None),
        "theme": theme if theme in THEMES else "",
        "embedded": settings.EMBEDDED,
    }
