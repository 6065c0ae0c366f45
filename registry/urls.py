"""All URLs: each room brings its own, under its own namespace."""

from importlib.util import find_spec

from django.urls import include, path

ROOMS = ("accounts", "audit", "catalog", "discovery", "trust", "reviews", "portal")

urlpatterns = [
    path("", include(f"registry.{room}.urls")) for room in ROOMS if find_spec(f"registry.{room}.urls") is not None
]
