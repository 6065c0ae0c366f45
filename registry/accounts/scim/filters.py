"""SCIM filters as SQL. What has no column, or would read the table for nothing, is refused with invalidFilter."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import and_, or_
from typing import Any
from uuid import UUID

from django.db.models import CharField, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils.dateparse import parse_datetime
from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    AttrPath,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from scim2_models.path import CompareOperator as Op

from registry.accounts.models import Team, User

LONGEST = 2000
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""The null character, and halves of characters: no database has a text with one."""
MOST_TERMS = 50
NOTHING, EVERYTHING = Q(pk__in=[]), ~Q(pk__in=[])


@dataclass(frozen=True)
class Column:
    """Where an attribute is kept, and how it compares."""

    lookup: str
    read: Callable[[Any], Any]
    operators: Mapping[Op, str]
    absent: Q = NOTHING


def _text(value: Any) -> str:
    if not isinstance(value, str) or UNSTORABLE.search(value):
        raise InvalidFilterException(detail="This attribute is compared with a text in quotes")
    return value


def _truth(value: Any) -> bool:
    """Entra ID sends `active eq "True"` where a boolean belongs."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InvalidFilterException(detail="This attribute is compared with true or false")
    return value


def _instant(value: Any) -> datetime:
    try:
        found = value if isinstance(value, datetime) else parse_datetime(_text(value))
        found = found.astimezone(UTC) if found is not None and found.tzinfo is not None else found
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidFilterException(detail="This attribute is compared with a dateTime such as 2026-01-31T08:00:00Z")
    return found


def _id(value: Any) -> UUID | None:
    """What is no id of ours is nobody's."""
    try:
        return UUID(_text(value))
    except ValueError:
        return None


CASELESS = {Op.eq: "iexact", Op.ne: "iexact", Op.co: "icontains", Op.sw: "istartswith", Op.ew: "iendswith"}
EXACT = {Op.eq: "exact", Op.ne: "exact", Op.co: "contains", Op.sw: "startswith", Op.ew: "endswith"}
SAME = {Op.eq: "exact", Op.ne: "exact"}
ORDERED = {**SAME, Op.gt: "gt", Op.ge: "gte", Op.lt: "lt", Op.le: "lte"}
_DATES = {
    "meta.created": Column("created_at", _instant, ORDERED),
    "meta.lastmodified": Column("updated_at", _instant, ORDERED),
}
_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:"

USERS: Mapping[str, Column] = {
    "id": Column("pk", _id, SAME),
    "externalid": Column("external_id", _text, EXACT, Q(external_id="")),
    "username": Column("called", _text, CASELESS),
    "displayname": Column("name", _text, CASELESS),
    "name.formatted": Column("name", _text, CASELESS),
    "name.givenname": Column("given_name", _text, CASELESS, Q(given_name="")),
    "name.familyname": Column("family_name", _text, CASELESS, Q(family_name="")),
    "active": Column("is_active", _truth, SAME),
    "emails": Column("email", _text, CASELESS),
    "emails.value": Column("email", _text, CASELESS),
    "emails.type": Column("kind_of_address", _text, CASELESS),
    "emails.primary": Column("is_primary", _truth, SAME),
    "groups": Column("memberships__team_id", _id, SAME, Q(memberships=None)),
    "groups.value": Column("memberships__team_id", _id, SAME, Q(memberships=None)),
    f"{_ENTERPRISE}manager": Column("manager_id", _id, SAME, Q(manager=None)),
    f"{_ENTERPRISE}manager.value": Column("manager_id", _id, SAME, Q(manager=None)),
    **_DATES,
}
GROUPS: Mapping[str, Column] = {
    "id": Column("pk", _id, SAME),
    "externalid": Column("external_id", _text, EXACT, Q(external_id="")),
    "displayname": Column("name", _text, CASELESS),
    "members": Column("memberships__user_id", _id, SAME, Q(memberships=None)),
    "members.value": Column("memberships__user_id", _id, SAME, Q(memberships=None)),
    **_DATES,
}


class _AsSql(FilterVisitor[Q]):
    def __init__(self, columns: Mapping[str, Column], within: str = "") -> None:
        self.columns, self.within, self.left = columns, within, MOST_TERMS

    def _column(self, path: AttrPath) -> Column:
        self.left -= 1
        if self.left < 0:
            raise InvalidFilterException(detail=f"A filter has at most {MOST_TERMS} comparisons")
        name = str(path).lower()
        for schema in ("urn:ietf:params:scim:schemas:core:2.0:user:", "urn:ietf:params:scim:schemas:core:2.0:group:"):
            name = name.removeprefix(schema)
        name = f"{self.within}.{name}" if self.within else name
        if name not in self.columns:
            raise InvalidFilterException(detail=f"Filtering by {str(path)[:100]} is not supported")
        return self.columns[name]

    def visit_comparison(self, node: Comparison) -> Q:
        column = self._column(node.attr_path)
        if node.value is None and node.op in (Op.eq, Op.ne):
            return column.absent if node.op == Op.eq else ~column.absent
        if node.op not in column.operators:
            raise InvalidFilterException(detail=f"{node.attr_path} cannot be compared with {node.op.value}")
        value = column.read(node.value)
        same = NOTHING if value is None else Q(**{f"{column.lookup}__{column.operators[node.op]}": value})
        return ~same if node.op == Op.ne else same

    def visit_present(self, node: Present) -> Q:
        return ~self._column(node.attr_path).absent

    def visit_not(self, node: Not) -> Q:
        return ~self.visit(node.expr)

    def visit_logical_expr(self, node: LogicalExpr) -> Q:
        return reduce(and_ if node.op == LogicalOperator.and_ else or_, map(self.visit, node.terms))

    def visit_value_path(self, node: ValuePath) -> Q:
        """`emails[type eq "work" and value eq "a@b.c"]`: people have one address, so it says what its parts say.

        Entra ID and Okta also write a comparison behind the bracket, which the grammar has for PATCH alone.
        """
        if self.within:
            raise InvalidFilterException(detail="A selection stands in no other selection")
        self.within = str(node.attr_path).lower()
        try:
            return self.visit(node.val_filter)
        finally:
            self.within = ""


def _narrow(rows: QuerySet[Any], wanted: ScimFilter[Any] | None, columns: Mapping[str, Column]) -> QuerySet[Any]:
    if wanted is None:
        return rows
    if len(wanted) > LONGEST:
        raise InvalidFilterException(detail=f"A filter has at most {LONGEST} characters")
    node: FilterNode = wanted.ast
    condition = _AsSql(columns).visit(node)
    # Through the key, so that somebody in two teams is found once.
    return rows.filter(pk__in=_named(rows.model.objects.all()).filter(condition).values("pk"))


def _named(rows: QuerySet[Any]) -> QuerySet[Any]:
    if rows.model is not User:
        return rows
    return rows.alias(
        called=Coalesce(NullIf(F("user_name"), Value("")), F("email"), output_field=CharField()),
        kind_of_address=Value("work", output_field=CharField()),
        is_primary=Value(True),
    )


def people_matching(rows: QuerySet[User], wanted: ScimFilter[Any] | None) -> QuerySet[User]:
    """Raises `InvalidFilterException` for what is not supported."""
    return _narrow(rows, wanted, USERS)


def teams_matching(rows: QuerySet[Team], wanted: ScimFilter[Any] | None) -> QuerySet[Team]:
    return _narrow(rows, wanted, GROUPS)
