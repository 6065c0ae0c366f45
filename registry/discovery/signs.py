"""Signs that a definition tries to steer whoever reads it: rules as data, each with why it matters.

A sign is a reason to look, not a verdict. What is found is kept as an excerpt with everything invisible spelled out,
and shown escaped, so that it does to a reader of this registry nothing it was meant to do to a model.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.core.inert import hidden, visible
from registry.core.secrets import redact
from registry.discovery.pointers import Listed, pointer_of, tree

EXCERPT = 60
"""Characters shown before and after."""
MOST_SIGNS = 100
MOST_TEXT = 100_000
SHORTEST_LOOKALIKE = 6

Finder = Callable[[str], Iterable[tuple[int, int]]]


@dataclass(frozen=True)
class Rule:
    key: str
    severity: str
    title: "str | Promise"
    explanation: "str | Promise"
    find: Finder | None = None
    """None for rules that need to know other servers."""


def _pattern(*alternatives: str) -> Finder:
    compiled = re.compile("|".join(alternatives), re.IGNORECASE)

    def find(text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in compiled.finditer(text))

    return find


def _hiding(text: str) -> Iterator[tuple[int, int]]:
    """Each run of characters that hide, as one place."""
    start = end = -2
    for at in hidden(text):
        if text[at] in "\x1b\x9b":
            continue
        if at != end:
            if end > start >= 0:
                yield start, end
            start = at
        end = at + 1
    if end > start >= 0:
        yield start, end


def _homoglyphs(text: str) -> Iterator[tuple[int, int]]:
    """Words that mix Latin letters with ones of another alphabet that look the same."""
    for match in re.finditer(r"\w{2,60}", text):
        word = match[0]
        if not word.isascii() and any(letter in CONFUSABLE for letter in word) and re.search("[A-Za-z]", word):
            yield match.span()


def _encoded(text: str) -> Iterator[tuple[int, int]]:
    """Base64 from 64 characters on where it mixes cases and digits, which no name does; a path has more slashes."""
    for match in re.finditer(r"[A-Za-z0-9+/_-]{64,}={0,2}", text):
        block = match[0]
        mixed = all(re.search(kind, block) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
        if (mixed or len(block) >= 120) and len(re.findall("[/_-]", block)) <= len(block) // 16:
            yield match.span()


def _spaced(text: str) -> Iterator[tuple[int, int]]:
    """Runs of five and more single letters with the same sign between them; the alphabet itself is left alone."""
    for match in re.finditer(r"(?<!\w)[^\W\d_]([ ._*\-\u00b7])(?:[^\W\d_]\1){3,60}[^\W\d_](?!\w)", text):
        letters = match[0][::2].casefold()
        if any(ord(after) - ord(before) != 1 for before, after in pairwise(letters)):
            yield match.span()


CONFUSABLE: Mapping[str, str] = dict(
    zip(
        "авеԁһіјӏорԛѕсуԝхгАВЕНІЈКМОРЅТСУХαεικνορτυχΑΒΕΗΙΚΜΝΟΡΤΥΧΖɡɩʏ０１",
        "abedhijlopqscywxrABEHIJKMOPSTCYXaeiknoptuxABEHIKMNOPTYXZgiy01",
        strict=True,
    )
)
"""Letters of other alphabets that are drawn like Latin ones."""

RULES: tuple[Rule, ...] = (
    Rule(
        "override",
        "high",
        _("Gives orders that override others"),
        _("A description says what a tool does. One that tells the model to forget its instructions wants control."),
        _pattern(
            r"\b(?:ignore|disregard|forget|override)\s{1,3}(?:\w{1,12}\s{1,3}){0,3}(?:previous|prior|earlier|above|other|"
            r"system)\b[^.\n]{0,30}\b(?:instruction|prompt|rule|message|guideline|direction)",
            r"\b(?:new|updated|real|actual)\s+(?:system\s+)?instructions?\s*:",
            r"\byou\s+(?:must|should)\s+always\s+(?:first\s+)?(?:call|use|run|invoke|send|include)\b",
            r"\b(?:this|these)\s+instructions?\s+(?:take|takes|have|has)\s+(?:precedence|priority)\b",
            r"\b(?:ignorier|missacht|vergiss|vergess|übergeh)\w{0,4}\s{1,3}(?:\w{1,12}\s{1,3}){0,3}"
            r"(?:vorherig|bisherig|früher|vorig|obig|ander|system)\w{0,4}\b[^.\n]{0,30}"
            r"(?:anweisung|instruktion|regel|vorgabe|prompt|nachricht)",
            r"\b(?:ignor|oubli|néglig|neglig)\w{1,5}\s{1,3}(?:\w{1,12}\s{1,3}){0,3}"
            r"(?:instruction|consigne|règle|regle|directive|message)s?\b[^.\n]{0,20}"
            r"\b(?:précédent|precedent|antérieur|anterieur|système|systeme|ci-dessus)",
        ),
    ),
    Rule(
        "secrecy",
        "high",
        _("Asks to keep something from the user"),
        _("An honest tool has nothing to keep from the person it works for."),
        _pattern(
            r"\b(?:do\s+not|don'?t|never|must\s+not|should\s+not|without)\s+(?:\w{1,12}\s+){0,2}?"
            r"(?:tell|telling|mention|mentioning|inform|informing|reveal|revealing|notify|notifying|"
            r"disclose|disclosing|alert|alerting)\b[^.\n]{0,40}\b(?:user|human|person|anyone|them)\b",
            # What may not be shown has to be pointed at: "never show an empty list to the user" is a matter of form.
            r"\b(?:do\s+not|don'?t|never|must\s+not|should\s+not|without)\s+(?:\w{1,12}\s+)?show(?:ing)?\s+"
            r"(?:this|these|that|those|it|them|any(?:thing)?|the\s+user)\b[^.\n]{0,40}(?:user|human|person|anyone|this|it)\b",
            r"\b(?:sag|verrat|erwähn|zeig|teil|informier|melde?)\w{0,3}\b[^.\n]{0,40}\b(?:nutzer|benutzer|anwender|mensch)\w{0,3}"
            r"\b[^.\n]{0,20}\b(?:nicht|nichts|niemals|nie|kein\w{0,2})\b",
            r"\b(?:ohne|niemals|nie)\b[^.\n]{0,20}\b(?:nutzer|benutzer|anwender)\w{0,3}\b[^.\n]{0,20}"
            r"\b(?:informieren|sagen|erwähnen|mitteilen|zeigen|verraten)\b",
            r"\bne\s+(?:le\s+|la\s+|lui\s+|rien\s+)?(?:dis|dites|dire|mentionne|mentionnez|révèle|révélez|révéler|montre|montrez|"
            r"informe|informez)\b[^.\n]{0,50}\b(?:utilisateur|usager|personne)",
            r"\bsans\s+(?:en\s+)?(?:informer|avertir|prévenir|le\s+dire\s+à)\b[^.\n]{0,20}\b(?:utilisateur|usager)",
            r"\b(?:hide|hidden|conceal|secret)\s+(?:this\s+)?from\s+(?:the\s+)?(?:user|human)\b",
            r"\bthe\s+user\s+(?:must|should|may|need)\s*(?:not|n'?t)?\s*(?:never\s+)?(?:not\s+)?(?:know|see|notice)\b",
        ),
    ),
    Rule(
        "markup",
        "high",
        _("Dresses up as a message of the system"),
        _("Tags such as <IMPORTANT> or <|im_start|> make a text look as if the system or the user had said it."),
        _pattern(
            r"</?\s{0,3}(?:important|system|instructions?|secret|hidden|admin|assistant|critical)\b[^>\n]{0,40}>",
            r"<\|[a-z_]{2,30}\|>",
            r"\[/?(?:INST|SYS|SYSTEM)\]",
            r"<!--",
            r"^\s{0,3}#{2,4}\s*(?:system|instructions?)\s*:?\s*$",
        ),
    ),
    Rule(
        "invisible",
        "high",
        _("Holds characters that cannot be seen"),
        _("Zero-width, bidirectional and tag characters hide text from people that models still read."),
        _hiding,
    ),
    Rule(
        "terminal",
        "high",
        _("Holds terminal escapes"),
        _("Escape sequences repaint a terminal: what an operator sees is no longer what was said."),
        _pattern(r"[\x1b\x9b]", r"\\(?:x1b|u001b|033)\["),
    ),
    Rule(
        "files",
        "high",
        _("Reaches for keys and configuration"),
        _("A description that names private keys, credential files or shell history may send a model there."),
        _pattern(
            r"(?:~|\$HOME|/home/\w{1,32}|/root)/\.(?:ssh|aws|gnupg|kube|docker|netrc|npmrc|cursor|config/gcloud|"
            r"bash_history|zsh_history)\b",
            r"\bid_(?:rsa|ed25519|ecdsa)\b",
            r"/etc/(?:passwd|shadow)\b",
            r"(?:^|[\s\"'`(/])\.env(?:\.\w{1,20})?(?=[\s\"'`),.;]|$)",
            r"\bmcp\.json\b",
        ),
    ),
    Rule(
        "credentials",
        "high",
        _("Asks for credentials"),
        _("Secrets reach a server through its secret source. A tool that asks a model for them collects them."),
        _pattern(
            r"\b(?:send|include|pass|provide|attach|forward|read|copy|paste|return|print)\w{0,3}\b[^.\n]{0,50}"
            r"\b(?:api[ _-]?keys?|passwords?|credentials?|access[ _-]?tokens?|private[ _-]?keys?|"
            # Documentation of a credential is none.
            r"environment\s+variables?|session\s+cookies?)\b"
            r"(?!\s+(?:headers?\s+)?(?:docs?|documentation|sections?|pages?|reference|formats?|polic(?:y|ies)|rotation)\b)",
        ),
    ),
    Rule(
        "conversation",
        "medium",
        _("Asks for the conversation"),
        _("What was said before is no argument of a tool. One that wants it all carries it off."),
        _pattern(
            r"\b(?:entire|full|whole|complete|previous)\s+(?:conversation|chat|dialogu?e)(?:\s+(?:history|context|log))?\b",
            r"\b(?:conversation|chat)\s+(?:history|transcript)\b",
        ),
    ),
    Rule(
        "cross_tool",
        "medium",
        _("Directs the use of other tools"),
        _("A tool that says what to call before or instead of another one reaches beyond its own server."),
        _pattern(
            r"\b(?:before|after|whenever|instead\s+of)\s+(?:you\s+)?(?:using|calling|invoking|running|use|call|invoke|run)\b"
            r"[^.\n]{0,60}\b(?:tool|function|server)s?\b[^.\n]{0,60}\b(?:call|use|invoke|run|must|always|first)\b",
            r"\b(?:any|every|all)\s+other\s+tools?\b[^.\n]{0,60}\b(?:must|should|never|instead|first)\b",
        ),
    ),
    Rule(
        "encoded",
        "medium",
        _("Holds an encoded block"),
        _("A long block of base64 or hexadecimal says something that nobody who reads it sees."),
        _encoded,
    ),
    Rule(
        "spaced",
        "high",
        _("Spells a word letter by letter"),
        _("Letters with blanks between them are read by models as the word, and passed over by people and filters."),
        _spaced,
    ),
    Rule(
        "exfiltration",
        "high",
        _("Sends what it knows to an address"),
        _("An image or a link that carries text to somebody's server, or an order to send it there, carries data off."),
        _pattern(
            r"!\[[^\]\n]{0,80}\]\(\s?https?://[^)\s]{1,200}[?{$<]",
            r"\b(?:send|post|forward|upload|transmit|report|submit|copy)\s+(?:\w{1,12}\s+){0,3}?"
            r"(?:it|them|this|that|everything|anything|all|what|conversations?|contents?|outputs?|files?|answers?|history|"
            r"context|keys?|tokens?|secrets?|credentials?|passwords?|data|results?|prompts?|messages?)\b"
            r"[^.\n]{0,60}?\b(?:to|at|via)\s+https?://",
            r"\b(?:sende|schicke|übermittle|lade)\b[^.\n]{0,80}\b(?:an|zu|nach|auf)\s+https?://",
            r"\b(?:envoie|envoyez|envoyer|transmets|transmettez)\b[^.\n]{0,80}\b(?:à|a|vers|sur)\s+https?://",
        ),
    ),
    Rule(
        "homoglyphs",
        "high",
        _("Mixes alphabets that look alike"),
        _("A letter of another alphabet inside a Latin word makes a different name that reads the same."),
        _homoglyphs,
    ),
    Rule(
        "mentions",
        "medium",
        _("Names a tool of another server"),
        _("One server's description can change how another server's tool is used. Read what it says about it."),
    ),
    Rule(
        "lookalike",
        "medium",
        _("Is named almost like a tool of another server"),
        _("One letter apart, a model or a person may call the wrong one."),
    ),
    Rule(
        "same_name",
        "low",
        _("Is named exactly like a tool of another server"),
        _("Where both are connected, a model may call one and mean the other."),
    ),
)
BY_KEY: Mapping[str, Rule] = {rule.key: rule for rule in RULES}


class Sign(NamedTuple):
    """`where` is a JSON pointer as in drift; `excerpt` is inert text."""

    rule: str
    where: str
    excerpt: str

    def as_json(self) -> dict[str, str]:
        return {**self._asdict(), "severity": BY_KEY[self.rule].severity}


def find_signs(listed: Listed, others: Mapping[str, str] | None = None) -> list[Sign]:
    """What is suspicious in a listing, at most `MOST_SIGNS`, worst first. `others`: tools of other servers and whose
    they are."""
    found: dict[tuple[str, str], Sign] = {}
    others = others or {}
    own = {str(tool["name"]) for tool in listed.tools}
    foreign = {name for name in others if name not in own and _is_name(name)}
    for where, text in _texts(tree(listed)):
        for rule in RULES:
            for start, end in rule.find(text[:MOST_TEXT]) if rule.find else ():
                # Once per rule and place: a hundred hidden characters are one finding.
                found.setdefault((rule.key, where), Sign(rule.key, where, excerpt(text, start, end)))
        for match in re.finditer(r"[A-Za-z][\w-]{5,127}", text[:MOST_TEXT]) if foreign else ():
            if match[0] in foreign:
                said = f"{excerpt(text, *match.span())} ({others[match[0]]})"
                found.setdefault(("mentions", where), Sign("mentions", where, said))
    for name in sorted(own & others.keys()):
        if _is_name(name):
            where = pointer_of(("tools", name))
            found.setdefault(("same_name", where), Sign("same_name", where, f"{visible(name)} ({others[name]})"))
    for name, other in lookalikes(own, others):
        where = pointer_of(("tools", name))
        said = f"{visible(name)} / {visible(other)} ({others[other]})"
        found.setdefault(("lookalike", where), Sign("lookalike", where, said))
    order = {"high": 0, "medium": 1, "low": 2}
    ranked = sorted(found.values(), key=lambda sign: (order[BY_KEY[sign.rule].severity], sign.where, sign.rule))
    return ranked[:MOST_SIGNS]


def words_of(listed: Listed) -> set[str]:
    """Words of a listing that could be names of tools, to look them up."""
    return {
        match[0]
        for _where, text in _texts(tree(listed))
        for match in re.finditer(r"[A-Za-z][\w-]{5,127}", text[:MOST_TEXT])
        if _is_name(match[0])
    }


def excerpt(text: str, start: int, end: int) -> str:
    """What was found with a little around it: redacted, invisible characters spelled out, on one line."""
    end = min(end, start + 160)
    left, right = max(start - EXCERPT, 0), min(end + EXCERPT, len(text))
    shown = visible(redact(" ".join(text[left:right].split(" "))))
    return f"{'…' if left else ''}{' '.join(shown.split())}{'…' if right < len(text) else ''}"


def _texts(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every string with its pointer; keys are strings as well, for names are where things hide."""
    if isinstance(value, str):
        yield pointer_of(keys), value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if keys and not key.isascii():
                yield pointer_of((*keys, key)), key
            yield from _texts(inner, (*keys, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*keys, str(index)))


def _is_name(word: str) -> bool:
    """Whether a word is a name and nothing else: with an underscore, a hyphen or a capital inside."""
    return len(word) >= SHORTEST_LOOKALIKE and bool(re.search(r"[a-z0-9][_-][a-z0-9]|[a-z][A-Z]", word))


# --- Names that look alike -------------------------------------------------------------------------------


def skeleton(name: str) -> str:
    """What a name looks like: compatible forms unified, letters of other alphabets as the Latin ones they resemble."""
    unified = unicodedata.normalize("NFKC", name)
    return "".join(CONFUSABLE.get(letter, letter) for letter in unified).casefold().replace("-", "_")


def lookalikes(own: Collection[str], others: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Own names with a name of another server that is drawn the same, or one letter apart."""
    by_look: dict[str, list[str]] = {}
    by_gap: dict[str, set[str]] = {}
    for name in own:
        look = skeleton(name)
        by_look.setdefault(look, []).append(name)
        if len(look) >= SHORTEST_LOOKALIKE:
            for gap in _gaps(look):
                by_gap.setdefault(gap, set()).add(name)
    for other in others:
        if other in own:
            continue
        look = skeleton(other)
        if drawn_alike := by_look.get(look):
            yield drawn_alike[0], other
        elif len(look) >= SHORTEST_LOOKALIKE:
            near = {name for gap in _gaps(look) for name in by_gap.get(gap, ())}
            yield from ((name, other) for name in sorted(near) if _one_apart(skeleton(name), look))


def _gaps(look: str) -> set[str]:
    """The name and the name without one letter: two names one letter apart share one of these."""
    return {look, *(look[:at] + look[at + 1 :] for at in range(len(look)))}


def _one_apart(first: str, second: str) -> bool:
    """One letter replaced, added or dropped. Numbers and a plural make another word, not a similar one."""
    if abs(len(first) - len(second)) > 1 or re.sub(r"\d+", "0", first) == re.sub(r"\d+", "0", second):
        return False
    shorter, longer = sorted((first, second), key=len)
    if len(shorter) != len(longer):
        at = next((i for i, letter in enumerate(shorter) if letter != longer[i]), len(shorter))
        plural = longer[at] == "s" and (at == len(shorter) or shorter[at] == "_")
        return not plural and shorter[at:] == longer[at + 1 :]
    return sum(a != b for a, b in zip(first, second, strict=True)) == 1
