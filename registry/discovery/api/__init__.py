"""REST resources of discovery, by topic."""

from registry.discovery.api.imports import ImportViewSet

routes = [("imports", ImportViewSet, "import")]
