"""What nobody may take away without evidence."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from registry.audit.services.events import noted, record_export
from registry.core.actors import Actor
from registry.core.http import is_file


class DownloadMiddleware:
    """Every file that somebody takes away is noted: by the view, which knows best what it is, or else here.

    Stands after the actor is known. Files for everybody are nobody's secret, so strangers are not noted.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        noted.set(False)
        response = self.get_response(request)
        actor: Actor | None = getattr(request, "actor", None)
        unsaid = is_file(response) and response.status_code == 200 and not noted.get()
        if unsaid and actor is not None and actor.user_id is not None:
            form = response.headers["Content-Disposition"].rpartition(".")[2].strip('"')
            record_export(actor=actor, of=request.path, question=request.GET.urlencode(), form=form)
        return response
