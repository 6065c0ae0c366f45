"""All URLs: each room brings its own pages, under its own namespace, and its own REST resources."""

from importlib import import_module
from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path
from rest_framework.routers import SimpleRouter

from registry.core import views

ROOMS = ("accounts", "audit", "catalog", "discovery", "trust", "reviews", "portal")

# --- REST: one router over every room's `api.routes`, plus its `api.paths` ---------------------------------
router = SimpleRouter(trailing_slash=False)
api_paths: list[URLPattern] = []
for room in ROOMS:
    if find_spec(f"registry.{room}.api") is not None:
        api = import_module(f"registry.{room}.api")
        for prefix, viewset, basename in api.routes:
            router.register(prefix, viewset, basename=basename)
        api_paths += getattr(api, "paths", [])

urlpatterns: list[URLPattern | URLResolver] = [
    # First, so that a call of a script is not compared with every page before it is found.
    path("api/v1/", include(([*api_paths, *router.urls], "api"))),
    path("scim/v2/", include("registry.accounts.scim.urls")),
    path("theme", views.set_theme, name="theme"),
    path("help", views.help_page, name="help"),
    *(path("", include(f"registry.{room}.urls")) for room in ROOMS),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.server_error
