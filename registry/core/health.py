"""Whether this process can serve (`/healthz`, `/readyz`) and how it fares (`/metrics`).

Answered before anything else looks at the request: a probe names no host of ours, and must not be redirected or
counted as a page.
"""

import secrets
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django_prometheus.exports import ExportToDjangoView

DOORS = ("/healthz", "/readyz", "/metrics")
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""What the middleware behind this one would say."""


class HealthMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in DOORS:
            return self.get_response(request)
        response = _answered(request)
        for name, value in SAFE_HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _answered(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    return metrics(request) if request.path_info == "/metrics" else health(closely=request.path_info == "/readyz")


def health(*, closely: bool = False) -> JsonResponse:
    """200 when the database answers and has every migration; 503 with what is missing. `closely` asks the rooms too."""
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        missing = missing_migrations()
    except Error:
        connection.close()
        return _answer(503, database="unreachable", migrations="unknown")
    if missing:
        return _answer(503, database="ok", migrations=f"{len(missing)} missing: run manage.py migrate")
    return _answer(200, database="ok", migrations="ok", **(_rooms() if closely else {}))


Question = Callable[[], str]
_questions: dict[str, Question] = {}


def ask(name: str, question: Question) -> None:
    """A room adds a question to `manage.py doctor` and `/readyz`; the answer is empty, or the trouble and its cure."""
    _questions[name] = question


def questions() -> dict[str, Question]:
    return dict(_questions)


def _rooms() -> dict[str, str]:
    """Strangers read this too, so it only says where to look. Trouble does not take a process out of service: people
    need the service to see the trouble."""
    return {name.replace(" ", "_"): "see manage.py doctor" if ask() else "ok" for name, ask in _questions.items()}


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text. Open in the embedded profile; otherwise only with `Authorization: Bearer METRICS_TOKEN`."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    wanted = settings.METRICS_TOKEN
    if settings.EMBEDDED or (wanted and secrets.compare_digest(given.encode(), wanted.encode())):
        response: HttpResponse = ExportToDjangoView(request)
        return response
    return HttpResponse(status=404)


_all_applied = False


def missing_migrations() -> list[str]:
    """Names of migrations this code has and the database has not. Once there are none, it is not asked again."""
    global _all_applied
    if _all_applied:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _all_applied = not plan
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _answer(status: int, **checks: str) -> JsonResponse:
    body = {"status": "ok" if status == 200 else "unavailable", **checks}
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
