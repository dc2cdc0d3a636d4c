"""The types of a statement's parameters, as far as the statement itself tells.

JDBC encodes parameters exactly as the server says, so a wrong guess is worse than none. A type is
given where DuckDB's own binder finds one (casts, comparisons with columns, arithmetic with
columns), or where a value goes straight into a column of a known table. All others are text, which
DuckDB casts where it can.

The binder is reached through ``json_serialize_plan``, which binds only SELECT. So other statements
are turned into a SELECT with the same parameters in the same places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from pondflight.control import Json
from pondflight.engine.duck import quote
from pondflight.engine.sql.rewriting import as_select
from pondflight.engine.sql.statement import Statement

_ARITHMETIC = frozenset("+-*/%")
_NULL: Json = {
    "class": "CONSTANT",
    "type": "VALUE_CONSTANT",
    "alias": "",
    "value": {"type": {"id": "NULL", "type_info": None}, "is_null": True},
}
_RESOLVING = frozenset(
    {
        "CAST",
        "COMPARISON",
        "BETWEEN",
        "CASE",
        "CONJUNCTION",
        "OPERATOR",  # IN, NOT, COALESCE
        "LIMIT_MODIFIER",
    }
)
"""Nodes of a syntax tree in which the binder can give a parameter its type."""
_RESOLVING_FUNCTIONS = frozenset({"~~", "!~~", "~~*", "!~~*", "~~~"})  # LIKE, ILIKE, GLOB


def parameter_types(cursor: duckdb.DuckDBPyConnection, statement: Statement) -> dict[str, str]:
    """Return SQL types by parameter name, without those that are not known.

    It never raises for an error in the statement, which will show elsewhere.
    """
    if not statement.parameters:
        return {}
    try:
        select = as_select(cursor, statement)
        return {} if select is None else _bound(cursor, select)
    except (duckdb.Error, ValueError, KeyError, RecursionError):
        return {}


def _bound(cursor: duckdb.DuckDBPyConnection, select: str) -> dict[str, str]:
    tree = _call(cursor, "system.main.json_serialize_sql", select)
    if _rewrite(tree):
        row = cursor.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchone()
        assert row is not None
        select = row[0]
    found: dict[str, str] = {}
    for name, kind in _parameters(_call(cursor, "system.main.json_serialize_plan", select)):
        spelled = _spelled(kind)
        if spelled is not None:
            found.setdefault(name, spelled)
    return found


def _call(cursor: duckdb.DuckDBPyConnection, function: str, select: str) -> Any:
    row = cursor.execute(f"SELECT {function}(?)", [select]).fetchone()
    assert row is not None
    answer = json.loads(row[0])
    if answer["error"]:
        raise ValueError(answer["error_message"])
    return answer


# -- the syntax tree -----------------------------------------------------------------------------


def _rewrite(node: object) -> bool:
    """Replace the parameters that the binder fails on; return whether there were any.

    A parameter in arithmetic gets the type of the other operand: ``x + ?`` becomes ``x +
    coalesce(?, x)``. Every other one becomes NULL.
    """
    changed = False
    if isinstance(node, list):
        for item in node:
            changed = _rewrite(item) or changed
        return changed
    if not isinstance(node, dict):
        return False
    resolving = (
        node.get("class") in _RESOLVING
        or node.get("type") == "LIMIT_MODIFIER"
        or node.get("function_name") in _RESOLVING_FUNCTIONS
    )
    for key, value in list(node.items()):
        if isinstance(value, dict) and _is_parameter(value):
            if not resolving:
                node[key] = dict(_NULL)
                changed = True
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, dict) and _is_parameter(item) and not resolving:
                    value[i] = _instead(node, value, i)
                    changed = True
        changed = _rewrite(value) or changed
    return changed


def _is_parameter(node: Json) -> bool:
    return node.get("class") == "PARAMETER"


def _instead(parent: Json, siblings: list[Json], index: int) -> Json:
    if parent.get("function_name") in _ARITHMETIC and len(siblings) == 2:  # noqa: PLR2004  operands
        other = siblings[1 - index]
        if not _is_parameter(other):
            return {
                "class": "OPERATOR",
                "type": "OPERATOR_COALESCE",
                "alias": "",
                "children": [siblings[index], other],
            }
    return dict(_NULL)


# -- the plan ------------------------------------------------------------------------------------


def _parameters(node: object) -> Iterator[tuple[str, Json]]:
    if isinstance(node, list):
        for item in node:
            yield from _parameters(item)
    elif isinstance(node, dict):
        if node.get("expression_class") == "BOUND_PARAMETER":
            yield node["identifier"], node["return_type"]
        for value in node.values():
            yield from _parameters(value)


def _spelled(kind: Json) -> str | None:
    """Return the SQL name of a type in a plan; ``None`` if its values are better sent as text."""
    name: str = kind["id"]
    info = kind.get("type_info") or {}
    if info.get("alias") or name in _TEXT:
        return None
    match name:
        case "DECIMAL":
            return f"DECIMAL({info['width']},{info['scale']})"
        case "LIST" | "ARRAY":
            child = _spelled(info["child_type"])
            return None if child is None else f"{child}[{info.get('size', '')}]"
        case "STRUCT":
            members = [(part["first"], _spelled(part["second"])) for part in info["child_types"]]
            if not all(name and type_ for name, type_ in members):
                return None
            return f"STRUCT({', '.join(f'{quote(name)} {type_}' for name, type_ in members)})"
    return None if info else name


_TEXT = frozenset(
    {"UNKNOWN", "NULL", "ANY", "INVALID", "ENUM", "UNION", "MAP", "INTERVAL", "STRING_LITERAL"}
)
