"""What the views of this room share."""

from django.views.decorators.http import require_http_methods

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.errors import NotSignedIn
from registry.core.http import Request

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


def signed_in(request: Request) -> Actor:
    if request.actor.user is None:
        raise NotSignedIn
    return request.actor


def role_words(user: User) -> list[str]:
    return [str(label) for value, label in User.roles.field.base_field.choices if value in user.roles]  # type: ignore[union-attr]
