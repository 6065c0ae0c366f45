"""Every question about the trust graph, for one actor at one instant: `ask(actor).reach(agent_id)`.

In force at an instant is a relationship that is active and inside its validity then, between an active agent or
system and an active server. Only that is reach. A server that is itself an agent continues a chain, up to six
relationships in all. The definitions are in docs/trust-graph.md.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import require
from registry.trust.graph import store
from registry.trust.graph.walk import HOPS
from registry.trust.queries import combining, crossing, cuts, hygiene, overview, reaching, routes
from registry.trust.queries.answers import (
    AccessTo,
    Basis,
    BlastRadius,
    Combinations,
    Crossings,
    Cut,
    Difference,
    Diffuses,
    Impact,
    Kind,
    Orphans,
    Path,
    Paths,
    Reach,
    Ref,
    SharedSecrets,
    Sightings,
    Stats,
    Subject,
    Unuseds,
)
from registry.trust.queries.neighbourhood import Facets, Grouping, Neighbourhood, neighbourhood
from registry.trust.queries.observed import EVERYTHING, RELATIONSHIPS, sightings
from registry.trust.queries.standpoint import Standpoint


def ask(actor: Actor, *, as_of: datetime | None = None) -> "Questions":
    """Questions of `actor` about the present, or about how things stood at `as_of`.

    Raises `NotAllowed` or `NotSignedIn` for who may not read trust. Costs one small statement when nothing changed.
    """
    require(actor, "trust.view")
    return Questions(actor, as_of=as_of)


class Questions:
    """Bound to one state of the data: all answers of one object belong together.

    Methods raise `NotFound` for a subject that does not exist (then) or may not be seen.
    """

    as_of: datetime
    """The instant judged."""
    is_present: bool
    """True unless a past instant was asked for."""
    data_version: str
    """Short and opaque; moves when a change that counts is committed, and only then."""
    epoch: int
    """How many beginnings and ends of validity and certification lie at or before `as_of`; part of an ETag."""
    visibility: str
    """`all`, or a digest of what the actor may not see; part of an ETag."""

    def __init__(self, actor: Actor, *, as_of: datetime | None = None) -> None:
        self.actor = actor
        now = clock.now()
        self.is_present = as_of is None or as_of >= now
        self.as_of = as_of or now
        state = store.present() if self.is_present else store.at(self.as_of)
        self._stand = Standpoint.taken(actor, self.as_of, state)
        self.data_version = state.version
        self.epoch = self._stand.epoch
        self.visibility = self._stand.visibility

    @property
    def past(self) -> datetime | None:
        """The instant judged where it is a past one: then rows are read as they stood."""
        return None if self.is_present else self.as_of

    # --- What is reachable -------------------------------------------------------------------------------

    def reach(self, agent_id: UUID, *, basis: Basis = "granted") -> Reach:
        """Systems an agent reaches, and servers it may call."""
        return reaching.reach(self._stand, agent_id, basis)

    def access(self, system_id: UUID, *, basis: Basis = "granted") -> AccessTo:
        """Agents (and servers) that reach a system."""
        return reaching.access(self._stand, system_id, basis)

    def blast_radius(self, kind: Subject, id: UUID) -> BlastRadius:
        """What is touched when this is compromised."""
        return reaching.blast_radius(self._stand, kind, id)

    def impact(self, kind: Cut, id: UUID) -> Impact:
        """What breaks when this is cut."""
        return (cuts.nothing if self._stand.ended(kind, id) else cuts.impact)(self._stand, kind, id)

    def paths(self, *, from_: tuple[Kind, UUID], to: tuple[Kind, UUID], hops: int = HOPS, limit: int = 20) -> Paths:
        """Paths from an agent or server to a server or system, shortest first; no server twice on one path."""
        return routes.paths(self._stand, from_, to, hops, limit)

    def routes(
        self, pairs: Sequence[tuple[UUID, UUID]], *, limit: int = 5
    ) -> Mapping[tuple[UUID, UUID], Sequence[Path]]:
        """For (agent, system) pairs of one page: up to `limit` paths each, shortest first, certified before others."""
        return routes.routes(self._stand, pairs, limit)

    # --- The estate as a whole ---------------------------------------------------------------------------

    def shared_secrets(self) -> SharedSecrets:
        """Secrets that several servers use."""
        return hygiene.shared_secrets(self._stand)

    def crossings(self, near: str = "", far: str = "") -> Crossings:
        """Paths across environments, and servers called from several tenants.

        `near` and `far` leave only those of agents of one environment to systems of another.
        """
        return crossing.crossings(self._stand, near, far)

    def combinations(self, id: UUID | None = None) -> Combinations:
        """Agents that meet every leg of a toxic combination (of the given one, or of any)."""
        return combining.combinations(self._stand, id)

    def orphans(self) -> Orphans:
        """Relationships of which an end has no owner, or one who has left."""
        return hygiene.orphans(self._stand)

    def unused(self, days: int = 90) -> Unuseds:
        """Relationships in force that nobody used for so many days; unknown while nothing is observed."""
        return hygiene.unused(self._stand, days)

    def sightings(self, of: Q = EVERYTHING, kinds: Collection[str] = RELATIONSHIPS) -> Sightings:
        """What was seen in use without a relationship in force, latest first.

        `of` narrows the observations that count, `kinds` what would have to be granted: a grant, a connection.
        """
        return sightings(self._stand, of, kinds)

    def diffuse(self, teams: int = 5) -> Diffuses:
        """Servers called by agents of more than `teams` teams."""
        return hygiene.diffuse(self._stand, teams)

    def stats(self) -> Stats:
        """How much there is of what."""
        return overview.stats(self._stand)

    def neighbourhood(
        self,
        seeds: Sequence[Ref] = (),
        *,
        to: Ref | None = None,
        facets: Facets = Facets(),  # noqa: B008 - frozen
        basis: Basis = "granted",
        expanded: Collection[Ref] = (),
        collapsed: Collection[Ref] = (),
        group: Grouping = "auto",
        opened: Collection[str] = (),
        most: int = 150,
        members: int = 30,
        upwards: bool = True,
        downwards: bool = True,
    ) -> Neighbourhood:
        """What is around the seeds (nothing: the whole estate), as nodes and edges to be drawn.

        `to`: only what lies on a path from a seed to it. `expanded`: also every direct neighbour of these.
        `collapsed`: do not walk beyond these. More than `most` nodes are grouped; groups in `opened` show `members`.
        Not `upwards`: only what the seeds reach, not what reaches them. Not `downwards`: of what was observed without
        a grant only what ends at something in the picture.
        """
        return neighbourhood(
            self._stand,
            seeds,
            to=to,
            facets=facets,
            basis=basis,
            expanded=expanded,
            collapsed=collapsed,
            group=group,
            opened=opened,
            most=most,
            members=members,
            upwards=upwards,
            downwards=downwards,
        )

    def difference(self, since: datetime) -> Difference:
        """Relationships that stand otherwise at `as_of` than they stood at `since`."""
        return overview.difference(self._stand, since)
