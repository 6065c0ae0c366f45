"""The archive of an audit pack as an answer, the same for pages and REST."""

from django.http import FileResponse, HttpRequest, HttpResponseBase
from django.utils.cache import get_conditional_response

from registry.core.actors import Actor
from registry.reviews.models import AuditPack
from registry.reviews.services.packs import note_download


def answer_pack(request: HttpRequest, actor: Actor, pack: AuditPack) -> HttpResponseBase:
    """Streamed; whoever has it already is told so. Raises `Conflict` when there is no file."""
    path = note_download(actor=actor, pack=pack)
    etag = f'"{pack.digest}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        response = FileResponse(
            path.open("rb"), as_attachment=True, filename=pack.file_name, content_type="application/zip"
        )
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response
