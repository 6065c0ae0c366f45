"""What the graph answers: one question as a GET, or up to a hundred in one POST.

Each answer says first how much there is, then the first page of each of its lists by name. Things are asked for by id,
or an agent, server or system by its name.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from django.urls import path, reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry.core.errors import Invalid, Malformed
from registry.core.rest import actor_of, as_registry_error, problem
from registry.trust import queries
from registry.trust.api import schemas
from registry.trust.api.asking import (
    ANSWER_HEADERS,
    AS_OF,
    BASIS,
    IF_NONE_MATCH,
    PAGING,
    Given,
    QuestionView,
    read_instant,
)
from registry.trust.api.combinations import CombinationsQuestion
from registry.trust.api.naming import Names, ends_of, number_by, use_of
from registry.trust.graph.walk import HOPS
from registry.trust.queries import Questions
from registry.trust.queries.answers import AccessTo, Basis, Reach, Ref, Rows

WAYS, MOST_WAYS = 1, 20
"""Ways shown per row of reach and access, unless asked for more: the best one costs little, each further one more."""
NAMED, MOST_NAMED = 5, 200
"""Systems named per agent in an impact, unless asked for more; servers per shared secret. All are counted."""
MOST_PATHS = 100
MOST_QUESTIONS = 100
SUBJECTS = ("server", "agent", "system", "secret_source", "issuer", "team", "person")
CUTS = (*SUBJECTS, "grant", "connection")

WORDS = {
    "agent": "Id, SPIFFE id or name of an agent.",
    "server": "Id or name of a server.",
    "system": "Id of a system, or its name where no other environment has one of that name.",
    "secret_source": "Id of a secret source; every server that uses the same secret counts.",
    "issuer": "Id of an issuer.",
    "team": "Id of a team.",
    "person": "Id of a person.",
    "grant": "Id of a grant.",
    "connection": "Id of a connection.",
}


def naming(*kinds: str) -> list[OpenApiParameter]:
    return [OpenApiParameter(kind, str, required=len(kinds) == 1, description=WORDS[kind]) for kind in kinds]


def described(
    summary: str, answer: Any, *parameters: OpenApiParameter, paged: bool = True, description: str | None = None
) -> Callable[[type[QuestionView]], type[QuestionView]]:
    """What the schema says of a question."""
    asked = [*parameters, AS_OF, *(PAGING if paged else ()), IF_NONE_MATCH]
    responses = {200: answer, 304: OpenApiResponse(description="The answer you have still holds.")}
    said = extend_schema(
        summary=summary, description=description, tags=["trust"], parameters=asked, responses=responses
    )
    return extend_schema_view(get=said)


def each_of(counted: Mapping[str, int], key: str, what: str) -> list[dict[str, Any]]:
    return [{key: value, what: number} for value, number in counted.items()]


# --- What is reachable -----------------------------------------------------------------------------------

WAYS_PARAMETER = OpenApiParameter(
    "ways",
    int,
    description=f"Ways shown per row, 0 to {MOST_WAYS}; the best one without it. Counts do not depend on it.",
)


@described("What may this agent reach", schemas.ReachSerializer, *naming("agent"), BASIS, WAYS_PARAMETER)
class ReachView(QuestionView):
    takes, counts, lists = ("agent", "basis", "ways"), ("systems", "servers"), ("systems", "servers")
    hides = ("systems", "servers", "sightings")

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        subject = given.subject(questions, "agent")
        basis = given.basis
        found = questions.reach(subject[1], basis=basis)
        shown = given.paged(systems=found.systems, servers=found.servers, **sightings_of(found, basis))
        ways = ways_between(questions, given, [(subject[1], row.id) for row in shown["systems"]])
        names = Names(questions, subject, *rows_of("system", shown["systems"]), *rows_of("server", shown["servers"]))
        names.also(ends_of(shown["sightings"]))
        names.also_of_ways(way for some in ways.values() for way in some)
        return {
            "agent": names.agent(subject[1]),
            "counts": found.counts,
            "hidden": found.hidden,
            "data_classes": each_of(found.data_classes, "data_class", "systems"),
            **shown.body(
                systems=[
                    names.reached_system(row)
                    | use_on(row, basis)
                    | {"through": [names.way(path) for path in ways.get((subject[1], row.id), ())]}
                    for row in shown["systems"]
                ],
                servers=[names.reached_server(row) | use_on(row, basis) for row in shown["servers"]],
                sightings=[names.sighting(row) for row in shown["sightings"]],
            ),
        }


@described("Who reaches this system", schemas.AccessSerializer, *naming("system"), BASIS, WAYS_PARAMETER)
class AccessView(QuestionView):
    takes, counts, lists = ("system", "basis", "ways"), ("agents", "direct_agents", "servers"), ("agents", "servers")
    hides = ("agents", "servers", "sightings")

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        subject = given.subject(questions, "system")
        basis = given.basis
        found = questions.access(subject[1], basis=basis)
        shown = given.paged(agents=found.agents, servers=found.servers, **sightings_of(found, basis))
        ways = ways_between(questions, given, [(row.id, subject[1]) for row in shown["agents"]])
        names = Names(questions, subject, *rows_of("agent", shown["agents"]), *rows_of("server", shown["servers"]))
        names.also(ends_of(shown["sightings"]))
        names.also_of_ways(way for some in ways.values() for way in some)
        return {
            "system": names.system(subject[1]),
            "counts": found.counts,
            "hidden": found.hidden,
            "on_behalf_of": each_of(found.behalf, "on_behalf_of", "agents"),
            **shown.body(
                agents=[
                    names.calling_agent(row)
                    | use_on(row, basis)
                    | {"through": [names.way(path) for path in ways.get((row.id, subject[1]), ())]}
                    for row in shown["agents"]
                ],
                servers=[names.reached_server(row) | use_on(row, basis) for row in shown["servers"]],
                sightings=[names.sighting(row) for row in shown["sightings"]],
            ),
        }


def sightings_of(found: Reach | AccessTo, basis: Basis) -> dict[str, Rows[Any]]:
    """A list of the answer only where use was asked for."""
    return {} if basis == "granted" else {"sightings": found.sightings}


def use_on(row: Any, basis: Basis) -> dict[str, Any]:
    return {} if basis == "granted" else use_of(row)


def rows_of(kind: str, rows: Iterable[Any]) -> list[Ref]:
    return [(kind, row.id) for row in rows]


def ways_between(questions: Questions, given: Given, pairs: list[Any]) -> Mapping[Any, Any]:
    limit = given.number("ways", WAYS, least=0, most=MOST_WAYS)
    return questions.routes(pairs, limit=limit) if limit and pairs else {}


@described(
    "What is reachable, and whose trust is abused, when this is compromised",
    schemas.BlastRadiusSerializer,
    *naming(*SUBJECTS),
)
class BlastRadiusView(QuestionView):
    takes, counts = SUBJECTS, ("agents", "servers", "systems", "people")
    lists = counts

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        subject = given.subject(questions, *SUBJECTS)
        found = questions.blast_radius(subject[0], subject[1])  # type: ignore[arg-type]
        shown = given.paged(agents=found.agents, servers=found.servers, systems=found.systems, people=found.people)
        names = Names(
            questions,
            subject,
            *rows_of("agent", shown["agents"]),
            *rows_of("server", shown["servers"]),
            *rows_of("system", shown["systems"]),
            *rows_of("person", shown["people"]),
        )
        return {
            "subject": names.thing(subject),
            "counts": found.counts,
            "hidden": number_by(found.hidden, ("agents", "servers", "systems")),
            "data_classes": each_of(found.data_classes, "data_class", "systems"),
            "on_behalf_of": each_of(found.behalf, "on_behalf_of", "agents"),
            **shown.body(
                agents=[names.calling_agent(row) for row in shown["agents"]],
                servers=[names.reached_server(row) for row in shown["servers"]],
                systems=[names.reached_system(row) | {"sole_path": row.sole} for row in shown["systems"]],
                people=[names.person(row) for row in shown["people"]],
            ),
        }


@described(
    "What breaks when this is cut",
    schemas.ImpactSerializer,
    *naming(*CUTS),
    OpenApiParameter(
        "named",
        int,
        description=f"Systems named per agent that loses or keeps them, 0 to {MOST_NAMED}; {NAMED} without it.",
    ),
)
class ImpactView(QuestionView):
    takes, counts, lists = (*CUTS, "named"), schemas.IMPACT_COUNTS, ("agents", "systems")

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        subject = given.subject(questions, *CUTS)
        few = given.number("named", NAMED, least=0, most=MOST_NAMED)
        found = questions.impact(subject[0], subject[1])  # type: ignore[arg-type]
        shown = given.paged(agents=found.agents, systems=found.systems)
        names = Names(questions, subject, *rows_of("agent", shown["agents"]), *rows_of("system", shown["systems"]))
        for row in shown["agents"]:
            names.also(("grant", id) for id in row.grants)
            names.also(("system", id) for id in (*row.loses[:few], *row.keeps[:few]))
        return {
            "subject": names.thing(subject),
            "counts": found.counts,
            "hidden": number_by(found.hidden, ("agents", "losing", "systems")),
            **shown.body(
                agents=[
                    names.agent(row.id)
                    | names.owner(row.id)
                    | names.tools_of(row.grants)
                    | {
                        "grants": list(row.grants),
                        "loses": [names.system(id) for id in row.loses[:few]],
                        "keeps": [names.system(id) for id in row.keeps[:few]],
                        "losses": len(row.loses) + row.hidden_loses,
                        "kept": len(row.keeps) + row.hidden_keeps,
                        "sole_path": row.sole,
                    }
                    for row in shown["agents"]
                ],
                systems=[
                    names.system(row.id)
                    | names.of("system", row.id, "kind", "environment")
                    | {
                        "data_class": row.data_class,
                        "unserved": row.unserved,
                        "lost_by": row.lost_by,
                        "kept_by": row.kept_by,
                    }
                    for row in shown["systems"]
                ],
            ),
        }


@described(
    "Paths between two things, shortest first",
    schemas.PathsSerializer,
    OpenApiParameter("from", str, required=True, description="`agent:ID` or `server:ID`; a name does as well."),
    OpenApiParameter("to", str, required=True, description="`system:ID` or `server:ID`; a name does as well."),
    OpenApiParameter("hops", int, description=f"Relationships of a path at most, 1 to {HOPS}."),
    OpenApiParameter("limit", int, description=f"Paths at most, 1 to {MOST_PATHS}; 20 without it."),
    paged=False,
)
class PathsView(QuestionView):
    takes, counts = ("from", "to", "hops"), ("paths",)
    lists: ClassVar[tuple[str, ...]] = ()

    def respond(self, questions: Questions, given: Given) -> dict[str, Any]:
        return {"paths": []} | super().respond(questions, given)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        if given.text("cursor"):
            raise Invalid(fields={"cursor": ["Paths come in one answer; ask for more of them with `limit`."]})
        source, target = given.end(questions, "from", "agent", "server"), given.end(questions, "to", "system", "server")
        found = questions.paths(
            from_=source,  # type: ignore[arg-type]
            to=target,  # type: ignore[arg-type]
            hops=given.number("hops", HOPS, most=HOPS),
            limit=given.number("limit", 20, most=MOST_PATHS),
        )
        names = Names(questions, source, target)
        names.also_of_paths(found.paths)
        return {
            "source": names.thing(source),
            "target": names.thing(target),
            "counts": found.counts,
            "hidden": {"paths": sum(each.hidden for each in found.paths)},
            "complete": found.complete,
            "paths": [names.path(each) for each in found.paths],
            "next": {},
        }


# --- The estate as a whole -------------------------------------------------------------------------------


@described("Secrets that several servers use", schemas.SharedSecretsSerializer)
class SharedSecretsView(QuestionView):
    counts, lists = ("secrets", "servers"), ("secrets",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.shared_secrets()
        shown = given.paged(secrets=found.secrets)
        names = Names(questions)
        for row in shown["secrets"]:
            names.also(("server", id) for id in row.servers[:MOST_NAMED])
        return {
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.counts),
            **shown.body(
                secrets=[
                    {
                        "id": row.id,
                        "kind": row.kind,
                        "reference": row.reference,
                        "servers": [names.of("server", id, "id", "name", "title") for id in row.servers[:MOST_NAMED]],
                        "hidden_servers": row.hidden_servers,
                        "systems": row.systems,
                        "data_class": row.data_class,
                    }
                    for row in shown["secrets"]
                ]
            ),
        }


@described("Ways across environments, and servers called from several tenants", schemas.CrossingsSerializer)
class CrossingsView(QuestionView):
    counts, lists = ("environment", "worst", "tenant"), ("environment", "tenant")

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.crossings()
        shown = given.paged(environment=found.environment, tenant=found.tenant)
        names = Names(questions)
        for row in shown["environment"]:
            names.also((kind, id) for kind in ("agent", "server", "system") if (id := getattr(row, kind)))
        for row in shown["tenant"]:
            names.also([("server", row.server), *(("issuer", id) for id in row.issuers if id)])
        return {
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.lists),
            **shown.body(
                environment=[
                    {
                        "agent": names.of("agent", row.agent, "id", "name"),
                        "server": names.of("server", row.server, "id", "name", "title"),
                        "system": names.of("system", row.system, "id", "name"),
                        "environments": list(row.environments),
                    }
                    for row in shown["environment"]
                ],
                tenant=[
                    {
                        "server": names.of("server", row.server, "id", "name", "title"),
                        "issuers": [names.of("issuer", id, "id", "name") for id in row.issuers if id],
                        "without_issuer": None in row.issuers,
                        "agents": row.agents,
                    }
                    for row in shown["tenant"]
                ],
            ),
        }


@described("Relationships of which an end has no owner, or one who has left", schemas.OrphansSerializer)
class OrphansView(QuestionView):
    counts, lists = ("grants", "connections"), ("relationships",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.orphans()
        shown = given.paged(relationships=found.rows)
        names = Names(questions, *(end for row in shown["relationships"] for end in row.ends))
        return {
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.counts),
            **shown.body(
                relationships=[
                    {"kind": row.kind, "id": row.id, "ends": [names.thing(end) for end in row.ends]}
                    for row in shown["relationships"]
                ]
            ),
        }


@described(
    "Relationships in force that nobody used",
    schemas.UnusedRelationshipsSerializer,
    OpenApiParameter("days", int, description="For how many days, 1 to 3650; 90 without it."),
)
class UnusedView(QuestionView):
    takes, counts, lists = ("days",), ("grants", "connections"), ("relationships",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.unused(given.number("days", 90, most=3650))
        shown = given.paged(relationships=found.rows)
        names = Names(questions, *((row.kind, row.id) for row in shown["relationships"]), ends=True)
        return {
            "known": found.known,
            "since": found.since,
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.counts),
            **shown.body(
                relationships=[
                    {"kind": row.kind, "id": row.id, **names.ends(row.kind, row.id), "last_used": row.last_used}
                    for row in shown["relationships"]
                ]
            ),
        }


@described("What was seen in use without a relationship in force, latest first", schemas.SightingsSerializer)
class SightingsView(QuestionView):
    counts, lists = ("of_servers", "of_systems"), ("sightings",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.sightings()
        shown = given.paged(sightings=found.rows)
        names = Names(questions, *ends_of(shown["sightings"]))
        return {
            "known": found.known,
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.counts),
            **shown.body(sightings=[names.sighting(row) for row in shown["sightings"]]),
        }


@described(
    "Servers called by agents of many teams",
    schemas.DiffuseSerializer,
    OpenApiParameter("teams", int, description="Of more than how many teams, 1 to 1000; 5 without it."),
)
class DiffuseView(QuestionView):
    takes, counts, lists = ("teams",), ("servers",), ("servers",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.diffuse(given.number("teams", 5, most=1000))
        shown = given.paged(servers=found.rows)
        names = Names(questions, *rows_of("server", shown["servers"]))
        return {
            "counts": found.counts,
            "hidden": number_by(found.hidden, self.counts),
            **shown.body(
                servers=[names.server(row.id) | {"teams": row.teams, "agents": row.agents} for row in shown["servers"]]
            ),
        }


@described(
    "How much there is of what",
    schemas.StatsSerializer,
    paged=False,
    description="Totals of the whole estate, the same for every reader: what one may not see is counted here like "
    "everything else, and nothing is named. `hidden` is empty, because nothing is left out.",
)
class StatsView(QuestionView):
    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        found = questions.stats()
        return {"counts": found.counts, "hidden": found.hidden, "by": found.by, "next": {}}


@described(
    "Relationships that stand otherwise than they stood",
    schemas.DifferenceSerializer,
    OpenApiParameter("since", OpenApiTypes.DATETIME, required=True, description="The earlier instant, with its zone."),
)
class DifferenceView(QuestionView):
    takes, counts, lists = ("since",), schemas.DIFFERENCE_COUNTS, ("relationships",)
    hides = ("relationships",)

    def answer(self, questions: Questions, given: Given) -> dict[str, Any]:
        since = given.instant("since")
        if since is None:
            raise Invalid(fields={"since": ["Give the earlier instant."]})
        if since > questions.as_of:
            raise Invalid(fields={"since": ["This lies after the instant to compare with."]})
        found = questions.difference(since)
        shown = given.paged(relationships=found.rows)
        names = Names(questions, *((row.kind, row.id) for row in shown["relationships"]), ends=True)
        return {
            "since": since,
            "counts": found.counts,
            "hidden": {"relationships": sum(found.hidden.values())},
            **shown.body(
                relationships=[
                    {
                        "kind": row.kind,
                        "id": row.id,
                        **names.ends(row.kind, row.id),
                        "before": row.before,
                        "after": row.after,
                        "terms": row.terms,
                    }
                    for row in shown["relationships"]
                ]
            ),
        }


# --- Many at once ----------------------------------------------------------------------------------------

QUESTIONS: dict[str, type[QuestionView]] = {
    "reach": ReachView,
    "access": AccessView,
    "blast-radius": BlastRadiusView,
    "impact": ImpactView,
    "paths": PathsView,
    "shared-secrets": SharedSecretsView,
    "crossings": CrossingsView,
    "hygiene/orphans": OrphansView,
    "hygiene/unused": UnusedView,
    "hygiene/diffuse": DiffuseView,
    "sightings": SightingsView,
    "stats": StatsView,
    "difference": DifferenceView,
}


ASKED: dict[str, type[QuestionView]] = {**QUESTIONS, "combinations": CombinationsQuestion}
"""What `trust/ask` knows; combinations are a resource besides, with an address of their own."""


def address_name(question: str) -> str:
    if question == "combinations":
        return "combination-list"
    return f"trust-{question.rpartition('/')[2]}"


class AskedSerializer(serializers.Serializer[Any]):
    """A question and its parameters, which are those of the question asked alone."""

    question = serializers.ChoiceField(list(ASKED))


class QuestionsInput(serializers.Serializer[Any]):
    as_of = serializers.DateTimeField(required=False, help_text="One instant for all of them. Without it: now.")
    questions = serializers.ListField(
        child=serializers.DictField(),
        min_length=1,
        max_length=MOST_QUESTIONS,
        help_text='For example `{"question": "reach", "agent": "…", "limit": 10}`.',
    )


class AskedAnswerSerializer(serializers.Serializer[Any]):
    question = serializers.CharField()
    status = serializers.IntegerField(help_text="What the question asked alone would have been answered with.")
    answer = serializers.DictField(required=False)
    problem = serializers.DictField(required=False, help_text="As the body of an error (RFC 9457).")


class AskAnswerSerializer(serializers.Serializer[Any]):
    as_of = serializers.DateTimeField()
    data_version = serializers.CharField(help_text="All of them were answered from this one state of the data.")
    answers = AskedAnswerSerializer(many=True, help_text="In the order of the questions.")


class AskView(APIView):
    room = "trust"
    only_reads = True

    @extend_schema(
        summary="Up to a hundred questions, answered from one state of the data",
        tags=["trust"],
        request=QuestionsInput,
        responses=AskAnswerSerializer,
    )
    def post(self, request: Request) -> Response:
        asked, as_of = self._read(request.data)
        questions = queries.ask(actor_of(request), as_of=as_of)
        body = {
            "as_of": questions.as_of,
            "data_version": questions.data_version,
            "answers": [self._answer(request, questions, each) for each in asked],
        }
        return Response(body, headers=dict(ANSWER_HEADERS))

    def _read(self, data: Any) -> tuple[list[Any], Any]:
        """The questions and the instant. What is wrong about the whole is refused as a whole."""
        if not isinstance(data, dict):
            raise Malformed("Send an object with `questions`.")
        if unknown := set(data) - {"as_of", "questions"}:
            raise Invalid(fields={name: ["There are: as_of, questions."] for name in unknown})
        asked, as_of = data.get("questions"), data.get("as_of")
        if not isinstance(asked, list) or not 1 <= len(asked) <= MOST_QUESTIONS:
            raise Invalid(fields={"questions": [f"Ask 1 to {MOST_QUESTIONS} questions."]})
        if as_of is not None and not isinstance(as_of, str):
            raise Invalid(fields={"as_of": ["Give a text."]})
        return asked, read_instant(as_of, "as_of") if as_of else None

    def _answer(self, request: Request, questions: Questions, asked: Any) -> dict[str, Any]:
        """One answer; what is wrong about one question does not touch the others."""
        name = str(asked.get("question", "")) if isinstance(asked, dict) else ""
        address = ""
        try:
            if name not in ASKED:
                raise Invalid(fields={"question": [f"Choose one of: {', '.join(ASKED)}."]})
            if "as_of" in asked:
                raise Invalid(fields={"as_of": ["One instant counts for all; give it beside `questions`."]})
            address = request.build_absolute_uri(reverse(f"api:{address_name(name)}"))
            values = {key: value for key, value in asked.items() if key != "question"}
            view = ASKED[name]
            given = Given(values, view.takes, address=address)
            if not questions.is_present:
                given.values["as_of"] = questions.as_of.isoformat()
            return {"question": name, "status": 200, "answer": view().respond(questions, given)}
        except Exception as error:
            known = as_registry_error(error)
            if known is None:
                raise
            return {"question": name, "status": known.status, "problem": problem(known, address)}


paths = [
    *(path(f"trust/{name}", view.as_view(), name=address_name(name)) for name, view in QUESTIONS.items()),
    path("trust/ask", AskView.as_view(), name="trust-ask"),
]
