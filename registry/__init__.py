"""MCP trust registry. The Celery application loads with the package, so that `task.delay` finds its broker anywhere."""

from registry.celery import app as celery_app

__all__ = ["celery_app"]
