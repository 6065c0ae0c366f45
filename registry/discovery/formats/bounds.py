"""How large and how involved a TOML or YAML text may be, told in one pass before a parser reads it.

Their parsers take much longer for some texts than for others of the same size: a TOML key of n parts costs n², and so
do brackets of YAML that nest n deep. Configurations of clients and server.yaml files that people publish are some
kilobytes, their keys have four parts, and they nest eight deep.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from django.utils.translation import gettext as _

from registry.core.errors import Malformed

MAX_TOML = 256 * 1024
MAX_YAML = 64 * 1024
MAX_KEY_PARTS = 32
MAX_DEPTH = 60
MAX_ROWS = 20_000
MAX_YAML_IN_ROWS = 1024 * 1024
"""Of all texts of server.yaml in one document. Docker's whole catalogue has a third."""

MAX_TEXTS = 50_000
MAX_SECRETS = 1_000
"""Of one configuration: every text is compared with every secret."""

# Strings and comments as TOML has them; what has no end goes to the end of its line or of the text, where every parser
# stops. So no character is looked at twice, and signs within them are not seen.
_TOML = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|#[^\n]*'
    r"|(?P<sign>[.,=\n\[\]{}])",
    re.DOTALL,
)


class Beyond(Malformed):
    """The document is beyond a limit of this module, which the message names."""

    code, status, title = "document-limit", 422, "The document is beyond a limit"


def check_toml(text: str) -> None:
    """Raise `Beyond` for what is too large, nests too deeply, or has a key of too many parts."""
    if len(text) > MAX_TOML:
        raise Beyond(_("TOML is read up to %(n)d KB. Split it.") % {"n": MAX_TOML // 1024})
    dots = depth = 0
    for token in _TOML.finditer(text):
        sign = token["sign"]
        if sign is None:
            continue
        dots = dots + 1 if sign == "." else 0
        depth += (sign in "[{") - (sign in "]}")
        if dots >= MAX_KEY_PARTS:
            raise Beyond(_("A key may have at most %(n)d parts.") % {"n": MAX_KEY_PARTS})
        if depth > MAX_DEPTH:
            raise too_deep()


def check_yaml(text: str) -> None:
    """Raise `Beyond` for what is too large or nests too deeply, `yaml.YAMLError` for what is no YAML or has aliases.

    Events come one by one, so what is refused is not read to its end. A few lines of aliases unfold into gigabytes.
    """
    if len(text) > MAX_YAML:
        raise Beyond(_("A server.yaml is read up to %(n)d KB.") % {"n": MAX_YAML // 1024})
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise too_deep()


def check_rows(rows: Sequence[Any]) -> None:
    """Raise `Beyond` for too many rows, or when their texts of server.yaml are too long together."""
    if len(rows) > MAX_ROWS:
        raise Beyond(_("At most %(n)d entries at a time; split them.") % {"n": MAX_ROWS})
    texts = (row.get("server_yaml") for row in rows if isinstance(row, Mapping))
    if sum(len(text) for text in texts if isinstance(text, str)) > MAX_YAML_IN_ROWS:
        said = _("All server.yaml of one import may have %(n)d MB together. Split it.")
        raise Beyond(said % {"n": MAX_YAML_IN_ROWS // 1024**2})


def check_texts(document: Any) -> None:
    """Raise `Beyond` for a configuration of more values than anybody has."""
    waiting, left = [document], MAX_TEXTS
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        left -= 1
        if left < 0:
            raise Beyond(_("A configuration may have at most %(n)d values. Split it.") % {"n": MAX_TEXTS})


def check_secrets(number: int) -> None:
    if number > MAX_SECRETS:
        raise Beyond(_("This holds more than %(n)d secrets. Split it.") % {"n": MAX_SECRETS})


def too_deep(most: int = MAX_DEPTH) -> Beyond:
    return Beyond(_("It is nested too deeply; at most %(n)d levels are read.") % {"n": most})
