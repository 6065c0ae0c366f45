"""Pages of imports: hand something in, see what would happen, let it go, watch it, read what became of each entry."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from registry.core import limits
from registry.core.csv import stream_csv
from registry.core.errors import Conflict
from registry.core.filtering import chosen
from registry.core.forms import answer, hide_secrets, run
from registry.core.http import Request
from registry.core.pagination import Page, keyset_page
from registry.core.permissions import allows, require
from registry.discovery import queries, services
from registry.discovery.filters import ImportFilter, ResultFilter
from registry.discovery.forms import NewImportForm
from registry.discovery.models import ImportJob, ImportResult
from registry.discovery.states import UNFINISHED, JobState, Outcome

NAV = "imports"
PAGE = 50
TONES = {"imported": "ok", "updated": "accent", "seen": "plum", "skipped": "idle", "refused": "danger"}


def _job(request: Request, pk: UUID) -> ImportJob:
    require(request.actor, "discovery.view")
    visible = ImportJob.objects.visible_to(request.actor).select_related("requested_by")
    return get_object_or_404(visible, pk=pk)


@require_safe
def imports(request: Request) -> HttpResponse:
    require(request.actor, "discovery.view")
    visible = ImportJob.objects.visible_to(request.actor).select_related("requested_by")
    filterset = ImportFilter(request.GET, queries.with_counts(visible))
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, count=True),
        "may_import": allows(request.actor, "discovery.import_servers"),
    }
    return render(request, "discovery/imports.html", context)


class NewImport(View):
    """Everything is read at once; what was read becomes a preview that only its maker sees."""

    def get(self, request: Request) -> HttpResponse:
        require(request.actor, "discovery.import_servers")
        return self._page(request, NewImportForm())

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, "discovery.import_servers")
        form = NewImportForm(request.POST, request.FILES)
        act = partial(services.request_import, actor=request.actor, state=JobState.PREVIEW)
        if job := run(form, act):
            return redirect("discovery:import", job.pk)
        hide_secrets(form, "text", entirely=False)
        return self._page(request, form)

    def _page(self, request: Request, form: NewImportForm) -> HttpResponse:
        return answer(request, "discovery/import_new.html", form, {"nav": NAV})


@require_safe
def import_job(request: Request, pk: UUID) -> HttpResponse:
    job = _job(request, pk)
    if job.state == JobState.PREVIEW:
        return _preview(request, job)
    visible = ImportResult.objects.visible_to(request.actor).filter(job=job).select_related("server", "shadow")
    filterset = ResultFilter(request.GET, visible)
    counts = queries.counts(job)
    context = {
        "nav": NAV,
        "job": job,
        "running": job.state in UNFINISHED,
        "counts": counts,
        "segments": _segments(counts),
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order="position", size=PAGE),
        "query": request.GET.urlencode(),
        "may_direct": allows(request.actor, "discovery.direct_import", job),
    }
    return render(request, "discovery/import.html", context)


def _segments(counts: dict[str, int]) -> list[tuple[str, int, str]]:
    return [(TONES[outcome], count, str(Outcome(outcome).label).lower()) for outcome, count in counts.items()]


def _preview(request: Request, job: ImportJob) -> HttpResponse:
    expected = queries.forecast(job.pending.defer("job"), request.actor)
    counts = queries.tally(expected)
    wanted = request.GET.get("outcome", "")
    shown = [each for each in expected if each.outcome == wanted] if wanted in Outcome.values else expected
    context = {
        "nav": NAV,
        "job": job,
        "counts": counts,
        "segments": _segments(counts),
        "would_change": counts["imported"] + counts["updated"] + counts["seen"],
        "outcome": wanted,
        "outcomes": [(value, label, counts[value]) for value, label in Outcome.choices],
        "page": _slice(request, shown, wanted),
    }
    return render(request, "discovery/preview.html", context)


def _slice(request: Request, shown: list[Any], outcome: str) -> Page[Any]:
    """A preview is reckoned as a whole, so its pages are slices of it."""
    number = request.GET.get("from", "0")
    start = min(int(number), len(shown)) if number.isdecimal() and len(number) < 7 else 0

    def link(at: int) -> str:
        return f"{request.path}?outcome={outcome}&from={at}"

    return Page(
        items=shown[start : start + PAGE],
        newer=link(max(start - PAGE, 0)) if start else None,
        older=link(start + PAGE) if start + PAGE < len(shown) else None,
        counted=len(shown),
    )


@require_safe
def progress(request: Request, pk: UUID) -> HttpResponse:
    """The progress bar by itself, asked for while the job runs; at its end the page reloads with the report."""
    job = _job(request, pk)
    running = job.state in UNFINISHED
    response = render(request, "discovery/_progress.html", {"job": job, "running": running})
    if not running:
        response["HX-Refresh"] = "true"
    return response


@require_safe
@limits.counts_as("export")
def results_csv(request: Request, pk: UUID) -> HttpResponseBase:
    """The report, as the page's filters show it."""
    job = _job(request, pk)
    results = ResultFilter(request.GET, ImportResult.objects.visible_to(request.actor).filter(job=job)).answered()

    def rows() -> Iterator[list[Any]]:
        for each in results.order_by("position").iterator(chunk_size=1000):
            server = str(each.server_id) if each.server_id else ""
            yield [each.file, each.index, each.name, each.outcome, "; ".join(each.reasons), server]

    return stream_csv(
        f"import-{job.created_at:%Y-%m-%d}", ("file", "index", "name", "outcome", "reasons", "server_id"), rows()
    )


@require_POST
def start(request: Request, pk: UUID) -> HttpResponse:
    job = _job(request, pk)
    try:
        services.start_import(actor=request.actor, job=job)
    except Conflict as error:
        messages.error(request, error.message)
    return redirect("discovery:import", pk)


@require_POST
def stop(request: Request, pk: UUID) -> HttpResponse:
    job = _job(request, pk)
    was_preview = job.state == JobState.PREVIEW
    try:
        services.stop_import(actor=request.actor, job=job)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("discovery:import", pk)
    if was_preview:
        messages.success(request, _("Discarded; nothing was imported."))
        return redirect("discovery:imports")
    messages.success(request, _("Stopped. What was imported stays; the rest was not touched."))
    return redirect("discovery:import", pk)
