"""Secret values are refused wherever they are entered; only references to where they are kept are stored.

Three ways to recognise one: its own format (detect-secrets' detectors and the prefixes below), the words around
it in a text (`--api-key VALUE`, `PASSWORD=VALUE`, `user:VALUE@host`), or the key it sits under in structured
data. Entropy alone never decides: it fires on package names and paths. No function here returns, logs or raises
a text that holds the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from registry.core.errors import SecretRefused

REDACTED = "[REDACTED]"
Path = tuple[str | int, ...]


class Match(NamedTuple):
    """Where a secret sits in a text, and by which rule; `LABELS[rule]` is what it looks like."""

    rule: str
    start: int
    end: int


@dataclass(frozen=True)
class Found:
    """A secret in structured data: the keys and indexes that lead to its string, and its place in it."""

    path: Path
    match: Match

    @property
    def dotted(self) -> str:
        return ".".join(map(str, self.path))


# --- Rules as data ---------------------------------------------------------------------------------------
# Only detectors whose patterns are bounded: those for JWT, npm, OpenAI and PyPI take quadratic time on hostile
# text, so their formats stand among our own prefixes, which start at a word's edge and therefore do not.
DETECTORS = {
    "aws-access-key": AWSKeyDetector(),
    "azure-storage-key": AzureStorageKeyDetector(),
    "discord-token": DiscordBotTokenDetector(),
    "github-token": GitHubTokenDetector(),
    "gitlab-token": GitLabTokenDetector(),
    "mailchimp-key": MailchimpDetector(),
    "sendgrid-key": SendGridDetector(),
    "slack-token": SlackDetector(),
    "square-secret": SquareOAuthDetector(),
    "stripe-key": StripeDetector(),
    "telegram-token": TelegramBotTokenDetector(),
    "twilio-key": TwilioKeyDetector(),
}

PREFIXES = {
    "steward-token": r"stw_[\w-]{20,}",
    "github-token": r"github_pat_\w{20,}|gh[oprsu]_[A-Za-z0-9]{20,}",
    "gitlab-token": r"gl(?:pat|dt|ft|soat|rt|ptt|agent)-[\w-]{16,}",
    "openai-key": r"sk-(?=[\w-]*\d)[\w-]{20,}",
    "stripe-key": r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z+/=]{24,}",
    "slack-token": r"xox[abeoprs]-[\w-]{10,}|xapp-\d-[\w-]{10,}",
    "google-key": r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}",
    "supabase-token": r"sb[pv]_[0-9a-f]{40}|sb_secret_[\w-]{20,}",
    "npm-token": r"npm_[A-Za-z0-9]{36}",
    "pypi-token": r"pypi-AgE[\w-]{60,}",
    "jwt": r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?",
    "hugging-face-token": r"hf_[A-Za-z0-9]{30,}",
    "airtable-token": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{40,}",
    "notion-token": r"ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{40,}",
    "linear-key": r"lin_api_[A-Za-z0-9]{32,}",
    "figma-token": r"figd_[\w-]{32,}",
    "atlassian-token": r"ATATT3[\w=-]{40,}",
    "vault-token": r"hv[sbr]\.[\w-]{20,}",
    "databricks-token": r"dapi[0-9a-f]{32}",
    "digitalocean-token": r"do[oprt]_v1_[0-9a-f]{64}",
    "shopify-token": r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}",
    "groq-key": r"gsk_[A-Za-z0-9]{40,}",
    "replicate-token": r"r8_[A-Za-z0-9]{30,}",
    "age-key": r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "artifactory-key": r"AKC[A-Za-z0-9]{40,}",
}

LABELS = {
    "aws-access-key": gettext_noop("an AWS access key"),
    "azure-storage-key": gettext_noop("an Azure storage key"),
    "discord-token": gettext_noop("a Discord bot token"),
    "github-token": gettext_noop("a GitHub token"),
    "gitlab-token": gettext_noop("a GitLab token"),
    "jwt": gettext_noop("a signed token (JWT)"),
    "mailchimp-key": gettext_noop("a Mailchimp key"),
    "npm-token": gettext_noop("an npm token"),
    "openai-key": gettext_noop("an API key that starts with sk-"),
    "pypi-token": gettext_noop("a PyPI token"),
    "sendgrid-key": gettext_noop("a SendGrid key"),
    "slack-token": gettext_noop("a Slack token"),
    "square-secret": gettext_noop("a Square secret"),
    "stripe-key": gettext_noop("a Stripe key"),
    "telegram-token": gettext_noop("a Telegram bot token"),
    "twilio-key": gettext_noop("a Twilio key"),
    "steward-token": gettext_noop("an API token of this registry"),
    "google-key": gettext_noop("a Google credential"),
    "supabase-token": gettext_noop("a Supabase token"),
    "hugging-face-token": gettext_noop("a Hugging Face token"),
    "airtable-token": gettext_noop("an Airtable token"),
    "notion-token": gettext_noop("a Notion token"),
    "linear-key": gettext_noop("a Linear key"),
    "figma-token": gettext_noop("a Figma token"),
    "atlassian-token": gettext_noop("an Atlassian token"),
    "vault-token": gettext_noop("a Vault token"),
    "databricks-token": gettext_noop("a Databricks token"),
    "digitalocean-token": gettext_noop("a DigitalOcean token"),
    "shopify-token": gettext_noop("a Shopify token"),
    "groq-key": gettext_noop("a Groq key"),
    "replicate-token": gettext_noop("a Replicate token"),
    "age-key": gettext_noop("an age private key"),
    "artifactory-key": gettext_noop("an Artifactory key"),
    "private-key": gettext_noop("a private key"),
    "url-password": gettext_noop("a password inside a URL"),
    "url-parameter": gettext_noop("a credential in a URL's query"),
    "url-path-key": gettext_noop("a key in a URL's path"),
    "authorization": gettext_noop("an Authorization header with its credential"),
    "flag": gettext_noop("a credential after a command-line flag"),
    "assignment": gettext_noop("a credential assigned to a name"),
    "named-value": gettext_noop("a credential under a name that says so"),
    "url-random": gettext_noop("a random part of an address, which may be a key"),
    "url-value": gettext_noop("a value in an address's query that may be a credential"),
    "random-value": gettext_noop("a value that looks like a credential"),
    "random-name": gettext_noop("a name that looks like a credential"),
}

_PREFIXED = re.compile(
    r"(?<![\w-])(?:" + "|".join(f"(?P<r{n}>{regex})" for n, regex in enumerate(PREFIXES.values())) + ")"
)
_PREFIX_RULES = list(PREFIXES)
# Every known format has at least this long a run; ordinary prose has none, so it skips the detectors.
_LONG_RUN = re.compile(r"[\w+/=.:-]{20}")
# The header alone, quoted in a sentence, describes a key; with a body behind it, it is one.
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?=\s*(?:\\[nr]|[\r\n]|[A-Za-z0-9+/]{16}|$))"
    r"(?:[^-]*-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\]*)"
    r"|PuTTY-User-Key-File-\d:[^\0]*"
)
_URL_PASSWORD = re.compile(r"://[^\s/?#:@\"'<>]{0,128}:(?P<secret>[^\s/?#\"'<>]{1,256})@")
# The name may be escaped: `api%5Fkey` is `api_key` to the server.
_URL_PARAMETER = re.compile(r"[?&#;](?P<name>[\w.%+-]{1,180})=(?P<secret>[^\s&#;\"'<>)\]]{1,4096})")
# After these path segments services put a personal key; elsewhere a long segment is a commit or a document.
_URL_PATH_KEY = re.compile(
    r"https?://[^\s\"'<>]{0,300}?/(?P<name>mcp|sse|s|api|hooks?|webhooks?|keys?|tokens?)/(?P<secret>[\w-]{20,512})"
    r"(?=[/?#\s\"'<>),]|$)",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"\b(?:(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|apikey|digest)\s+)?|bearer\s+|basic\s+)"
    r"(?P<secret>[^\s\"',;`]{6,4096})",
    re.IGNORECASE,
)
_FLAG = re.compile(r"(?<![\w-])--?(?P<name>[A-Za-z][\w-]{1,60})(?:[= ]|\s+)[\"']?(?P<secret>[^\s\"'`]{1,4096})")
_ASSIGNMENT = re.compile(
    r"(?<![\w$<{.])(?P<name>[A-Za-z][\w.-]{1,60})[\"']?(?P<sign>\s{0,3}[=:]\s{0,3})[\"']?(?P<secret>(?:[^\s\"'`,;&]|&(?![\w.-]+=)){3,4096})"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --- Names -----------------------------------------------------------------------------------------------
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_CERTAIN = _words("""
    password passwd pwd passphrase passcode secret token apikey credential credentials authorization
    bearer jwt
""")
_POSSIBLE = _words("key keys auth cookie session signature sig pass pat pin hash")
_BEFORE_KEY = _words("""
    api access secret private auth service account client encryption signing master admin
""")
# "TOKEN_FILE", "secret_name", "key_id": about a secret, not one.
_ABOUT = _words("""
    file path dir directory url uri endpoint host id ids name names type kind format arn prefix suffix
    header env var variable ttl expiry expiration expires lifetime limit count size length max min
    budget usage source ref provider store vault manager policy rotation scope scopes description hint
    label title version location mode enabled required method algorithm issuer audience field column
    index space placeholder help strategy map counts
""")
_HARMLESS_BEFORE = _words("""
    public primary foreign sort partition max min num total idempotency cache cursor page
""")

Certainty = Literal["certain", "possible", "reference", ""]


@lru_cache(maxsize=4096)
def name_certainty(name: str) -> Certainty:
    """How surely the value called `name` is a credential."""
    words = [word.lower() for word in _WORD.findall(name[:120])]
    if not words:
        return ""
    last = words[-1]
    if last == "reference":
        return "reference"
    if last in _ABOUT or any(word in _HARMLESS_BEFORE for word in words[:-1]):
        return ""
    if not _CERTAIN.isdisjoint(words):
        return "certain"
    if last in ("key", "keys") and len(words) > 1 and words[-2] in _BEFORE_KEY:
        return "certain"
    return "possible" if last in _POSSIBLE else ""


# --- Values ----------------------------------------------------------------------------------------------
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Braces and the like count as a placeholder for what they hold: a name, and nothing beside it that could be a secret.
_PLACEHOLDER = re.compile(
    r"""\{\{\s*(?P<doubled>[\w:.-]{1,60})\s*\}\}|\$\{(?P<variable>[\w:.-]{1,60})\}|\$(?P<bare>[A-Za-z_]\w{0,59})
    |\{(?P<braced>[\w:.-]{1,60})\}|<(?P<angled>[\w:.-]+(?:[ ][\w:.-]+){0,5})>""",
    re.VERBOSE,
)
_BRACED = re.compile(r"""\$\{[^}]*\}|\$\(|\$[A-Za-z_]|\{\{?[\w .:$|-]*\}?\}|<[^>]*>|^[<\[{](?!\s*["'])""")
_STAND_IN = re.compile(
    r"""^%\w+%$|^[xX*.#•_…-]{3,}$|[xX]{4,}|\*{3,}|\.\.\.|…                              # %VAR%, xxxx, ****, abc...
    |\bprocess\.env\b|\bos\.(?:environ|getenv)\b|\bsecrets\.[A-Za-z_]                  # read from elsewhere
    |^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$|(?:^|_)(?:[A-Z]+_)+(?:KEY|TOKEN|SECRET|PASSWORD)$ # a variable's NAME
    |^[a-z][A-Za-z-]*(?:\.[A-Za-z_]+)+$                                               # config.api_key
    |\w\(""",
    re.VERBOSE,
)
_MARKERS = _words("""
    your example sample placeholder dummy changeme insert enter replace todo here redacted foo bar
""")
_WORDS_OF_DOCS = _words("""
    password passwd pass pwd passphrase secret secrets token tokens key keys api apikey value values
    string str text required optional none null nil undefined true false yes no on off bearer basic
    oauth oauth2 test demo default empty hidden masked unset the a an my our this that is and or to for
    in of by with from not if when via as are can must will be it user username auth access personal
    client credential credentials env environment header based authentication authorization type
""")
_REFERENCE = re.compile(
    r"""vault:|(?:secret|kv|kvv?\d)/[\w./-]+$|arn:aws[\w-]*:|projects/[^/\s]+/secrets/|k8s:|kubernetes:|env:|file:|op://
    |keychain:|keyring:|azurekeyvault:|gcp-?sm:|sm://|aws-?sm:|ssm:|doppler:|infisical:|bws:|akeyless:|conjur:
    |[a-z][a-z0-9+.-]*://|git\+|@[\w-]+/                                                # addresses, scoped packages
    |~?/|\.{1,2}/|[A-Za-z]:[\\/]|(?:[\w .-]+/)+[\w .-]+\.[A-Za-z]{1,5}$""",
    re.VERBOSE | re.IGNORECASE,
)
_FILE_NAME = re.compile(r"[\w.-]+\.(?:json|ya?ml|toml|pem|key|txt|env|cfg|ini|p12|pfx|crt)", re.IGNORECASE)


def _looks_random(value: str) -> bool:
    """Mixed letters and digits without word structure: a UUID, a hex string, base64."""
    value = value[:256]
    if _UUID.fullmatch(value):
        return set(value) - {"0", "-"} != set()
    for part in re.split(r"[^A-Za-z0-9+=]", value):
        if len(part) < 12 or part.isalpha() or part.isdigit():
            continue
        changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(part))
        if changes >= 3 or (len(part) >= 16 and changes >= 2 and len(set(part)) >= 8):
            return True
    # Letters only, but cased like no language: "FAKEfakeFAKEfake" is a word game, "qWxTzLmNbVcR…" is base64.
    longest = max((len(part) for part in re.split(r"[^A-Za-z]", value)), default=0)
    return longest >= 24 and sum(a.isupper() != b.isupper() for a, b in pairwise(value)) >= 8


def without_placeholders(value: str, is_random: Callable[[str], bool] = _looks_random) -> str:
    """What is left of `value` without `{name}`, `${NAME}`, `$NAME`, `<name>`, `${input:x}`; a random name stays."""

    def left(found: re.Match[str]) -> str:
        return found.group() if is_random(found[found.lastgroup or 0]) else " "

    return _PLACEHOLDER.sub(left, value)


def is_stand_in(value: str) -> bool:
    """True for what only shows where a secret would be: `${VAR}`, `<TOKEN>`, `your-key-here`, `[REDACTED]`, `xxxx`."""
    value = value[:256]
    if _BRACED.search(value):
        return not _looks_random(without_placeholders(value))
    if _STAND_IN.search(value):
        return True
    words = [word.lower() for word in re.findall(r"[A-Za-z]+\d?", value)]
    if not words:
        return False
    if not _MARKERS.isdisjoint(words) or words[0].startswith(("your", "changeme", "change", "example", "dummy")):
        return not _looks_random(value)
    if len(words) == 1 or words[0] in ("my", "the", "a", "an"):
        return all(word in _WORDS_OF_DOCS for word in words) and not re.search(r"\d{2}", value)
    return False


def is_reference(value: str) -> bool:
    """True for where a secret is kept (`vault:kv/data/x`, an ARN, a path, an address), not the secret itself."""
    return bool(_REFERENCE.match(value) or _FILE_NAME.fullmatch(value))


def _is_value_of(name: str, value: str, *, strictly: bool = False) -> bool:
    """Whether `value`, called `name`, is a credential. In running text (`strictly`) only what looks random is."""
    certainty = name_certainty(name)
    if not certainty or is_stand_in(value) or is_reference(value):
        return False
    if certainty == "reference":
        return (
            len(value) >= 20 and re.fullmatch(r"[\w+=-]+", value) is not None
            and not _UUID.fullmatch(value) and _looks_random(value)
        )  # fmt: skip
    if certainty == "possible" or strictly:
        return _looks_random(value)
    if len(value) < 4 or re.search(r"\s", value) or (value.isdigit() and len(value) < 6):
        return False
    # "access_token": "access-token" only repeats its name.
    named = {word.lower() for word in _WORD.findall(name)}
    return not {word.lower() for word in _WORD.findall(value)} <= named


# --- Texts -----------------------------------------------------------------------------------------------
def _by_format(text: str) -> Iterator[Match]:
    if "PRIVATE KEY" in text or "PuTTY" in text:
        for found in _PEM.finditer(text):
            yield Match("private-key", *found.span())
    if _LONG_RUN.search(text):
        for rule, detector in DETECTORS.items():
            # The patterns themselves, for their positions: `analyze_string` gives parts of some matches only.
            for found in (found for pattern in detector.denylist for found in pattern.finditer(text)):
                if not is_stand_in(found.group()):
                    yield Match(rule, *found.span())
    for found in _PREFIXED.finditer(text):
        if not is_stand_in(found.group()):
            yield Match(_PREFIX_RULES[int((found.lastgroup or "r0")[1:])], *found.span())


def _by_surroundings(text: str) -> Iterator[Match]:
    if "://" in text:
        for found in _URL_PASSWORD.finditer(text):
            if not is_stand_in(found["secret"]):
                yield Match("url-password", *found.span("secret"))
        for found in _URL_PATH_KEY.finditer(text):
            certain = found["name"].lower() in ("key", "keys", "token", "tokens")
            if _looks_random(found["secret"]) and (certain or not _UUID.fullmatch(found["secret"])):
                yield Match("url-path-key", *found.span("secret"))
    if "=" in text and ("?" in text or "&" in text or "#" in text):
        for found in _URL_PARAMETER.finditer(text):
            if _is_value_of(unquote(found["name"]), unquote(found["secret"])):
                yield Match("url-parameter", *found.span("secret"))
    lowered = text.lower()
    if "authorization" in lowered or "bearer" in lowered or "basic" in lowered:
        for found in _AUTHORIZATION.finditer(text):
            if _is_authorization(found.group(), found["secret"]):
                yield Match("authorization", *found.span("secret"))
    if "-" in text:
        for found in _FLAG.finditer(text):
            if not found["secret"].startswith("-") and _is_value_of(found["name"], found["secret"]):
                yield Match("flag", *found.span("secret"))
    if "=" in text or ":" in text:
        for found in _ASSIGNMENT.finditer(text):
            # "password: required" is prose; "PASSWORD=hunter2" is not.
            if _is_value_of(found["name"], found["secret"], strictly=found["sign"] != "="):
                yield Match("assignment", *found.span("secret"))


def _is_authorization(header: str, credential: str) -> bool:
    """Whether what follows is a credential: "Bearer tokens are" and `Bearer ${TOKEN}` go on with words."""
    if is_stand_in(credential) or is_reference(credential):
        return False
    words = re.findall(r"[A-Za-z]+", credential)
    plain_word = len(words) == 1 and credential.rstrip(".:)!?").isalpha()
    if plain_word and not _looks_random(credential):
        return False
    is_header = header.lower().startswith(("authorization", "proxy-authorization"))
    whole = header.lower().startswith(("bearer", "basic")) and len(words) > 1
    return _looks_random(credential) or is_header or (whole and "-" in credential and len(credential) >= 12)


def find_secrets(text: str) -> list[Match]:
    """Every secret in a text, in order and without overlaps. Reads only the text, no context."""
    if len(text) < 6:
        return []
    matches: list[Match] = []
    for match in sorted((*_by_format(text), *_by_surroundings(text)), key=lambda match: (match.start, -match.end)):
        if not matches or match.start >= matches[-1].end:
            matches.append(match)
        elif match.end > matches[-1].end:
            matches[-1] = matches[-1]._replace(end=match.end)
    return matches


def redact(text: str) -> str:
    """`text` with `[REDACTED]` in place of every secret; redacting twice changes nothing."""
    for match in reversed(find_secrets(text)):
        text = text[: match.start] + REDACTED + text[match.end :]
    return text


# --- Structured data -------------------------------------------------------------------------------------
# In `{"name": "API_KEY", "value": "…"}` the sibling says what the value is.
_SLOTS = _words("value default example placeholder valueHint value_hint")
_NAMING = ("name", "key", "id", "env")


def find_secret_values(value: Any, path: Path = (), *, name: str = "") -> Iterator[Found]:
    """Every secret in nested mappings, sequences and strings; key names, sibling names and flags give context."""
    if isinstance(value, str):
        if matches := find_secrets(value):
            yield from (Found(path, match) for match in matches)
        elif name and _is_value_of(name, value.strip()):
            yield Found(path, Match("named-value", 0, len(value)))
    elif isinstance(value, Mapping):
        sibling = next((value[key] for key in _NAMING if isinstance(value.get(key), str)), "")
        for key, inner in value.items():
            context = sibling if key in _SLOTS and sibling else str(key)
            yield from find_secret_values(inner, (*path, str(key)), name=context)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        before: Any = None
        for index, inner in enumerate(value):
            after_flag = isinstance(before, str) and re.fullmatch(r"--?[A-Za-z][\w-]*", before)
            context = before.lstrip("-") if isinstance(before, str) and after_flag else name
            yield from find_secret_values(inner, (*path, index), name=context)
            before = inner


def describe(match: Match) -> str:
    """The sentence shown beside a refused field; never holds the value."""
    return _("Looks like %(what)s. Name where it is kept instead, for example vault:kv/data/warehouse.") % {
        "what": _(LABELS[match.rule])
    }


def refuse_secrets(fields: Mapping[str, Any]) -> None:
    """Raise `SecretRefused` naming every field (`tools.0.description`) that holds a secret value.

    Values may be strings, lists and nested dicts; anything else is passed over.
    """
    messages: dict[str, list[str]] = {}
    for field, value in fields.items():
        for found in find_secret_values(value, (field,), name=field.rpartition(".")[2]):
            told = messages.setdefault(found.dotted, [])
            if (message := describe(found.match)) not in told:
                told.append(message)
    if messages:
        raise SecretRefused(fields=messages)
