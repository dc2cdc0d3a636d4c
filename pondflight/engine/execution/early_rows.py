"""Which queries may run before their rows are asked for (``control.PROMISE_HEADER``).

Those whose last run was quick and whose rows depend only on the user's own tables and on the text:
every operator and function of the bound query must be on an allow-list. So nothing that reads a
clock, a setting, a sequence, a file or somebody else's database ever runs early, nor what an
extension or a later DuckDB adds.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import duckdb

from pondflight.engine.guards.bound import changes_names
from pondflight.engine.sql.statement import Statement

QUICK_SECONDS: Final = 0.025
"""A longer run is not repeated early, and an early run that takes longer is given up.

The watcher of calls checks that every 50 ms.
"""

MOST_ROWS: Final = 2048
MOST_BYTES: Final = 64 << 10

_MOST_TEXTS: Final = 512
_LONGEST: Final = 16 << 10
_SERIALIZE: Final = "SELECT system.main.json_serialize_plan(?)"

_OPERATORS: Final = frozenset(
    f"LOGICAL_{name}"
    for name in """
    AGGREGATE_AND_GROUP_BY ANY_JOIN COMPARISON_JOIN CROSS_PRODUCT CTE_REF DELIM_GET DELIM_JOIN
    DEPENDENT_JOIN DISTINCT DUMMY_SCAN EMPTY_RESULT EXCEPT EXPRESSION_GET FILTER GET INTERSECT JOIN
    LIMIT MATERIALIZED_CTE ORDER_BY PROJECTION TOP_N UNION UNNEST WINDOW
    """.split()  # noqa: SIM905 - lines of names, not thirty
)

_FUNCTIONS: Final = frozenset(
    """
    ~~ !~~ ~~* !~~* ~~~ % & * ** + - / // << >> @ ^ | || ~
    abs acos any_value arbitrary arg_max arg_min array_extract ascii asin atan atan2 avg bar
    bit_and bit_count bit_or bit_xor bool_and bool_or cbrt ceil ceiling century chr concat
    concat_ws contains corr cos cot count count_star covar_pop covar_samp date_diff date_part
    date_sub date_trunc datediff datepart datetrunc day dayname dayofmonth dayofweek dayofyear
    decade degrees ends_with epoch epoch_ms epoch_us error even exp factorial first floor
    generate_series greatest hash hour ilike_escape instr isfinite isinf isnan isodow isoyear
    json_extract json_extract_string kurtosis last last_day lcase least left length levenshtein
    like_escape list list_aggregate list_contains list_distinct list_extract list_sort list_value ln
    log log10 log2 lower lpad ltrim mad make_date make_time make_timestamp map map_extract
    map_extract_value max md5 median microsecond millisecond min minute mod mode month monthname
    not_ilike_escape not_like_escape ord pi position pow power product quantile_cont
    quantile_disc quarter radians range regexp_extract regexp_full_match regexp_matches
    regexp_replace repeat replace reverse right round row rpad rtrim second seq_scan sha256 sign sin
    skewness sqrt starts_with stddev stddev_pop stddev_samp string_agg string_split
    strftime strlen strpos strptime struct_extract struct_extract_at struct_pack substr substring
    sum sum_no_overflow tan time_bucket to_days to_hours to_microseconds to_milliseconds to_minutes
    to_months to_seconds to_weeks to_years translate trim trunc ucase unicode upper var_pop var_samp
    variance week weekday weekofyear year yearweek
    """.split()  # noqa: SIM905 - half a page of names, not three
)
"""Names that DuckDB's binder puts into a plan, all of them deterministic."""

_OF_FUNCTIONS: Final = frozenset({"arguments", "bind_info", "original_arguments"})
"""Fields of every node that calls a function."""

_WINDOWS: Final = frozenset(
    f"WINDOW_{name}"
    for name in """
    CUME_DIST FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK RANK_DENSE
    ROW_NUMBER
    """.split()  # noqa: SIM905
)
"""Window functions without a name."""


class EarlyRows:
    """What is known of the texts that ran last. Safe to use from many threads.

    A text means what the names in it stand for: so each session with a state of its own (``owner``:
    its id) is one by itself, and all others (``None``) are one together.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        ((self._catalog,),) = database.execute("SELECT current_database()").fetchall()
        self._lock = threading.Lock()
        self._quick: OrderedDict[tuple[str | None, str], bool | None] = OrderedDict()
        """By owner and text that was quick, whether it is steady; ``None``: nobody has asked."""

    def ran(self, owner: str | None, text: str, seconds: float, rows: int) -> None:
        """Record a whole run of ``text``."""
        if seconds > QUICK_SECONDS or rows > MOST_ROWS or len(text) > _LONGEST:
            self.drop(owner, text)
            return
        with self._lock:
            self._quick.setdefault((owner, text), None)
            self._quick.move_to_end((owner, text))
            if len(self._quick) > _MOST_TEXTS:
                self._quick.popitem(last=False)

    def drop(self, owner: str | None, text: str) -> None:
        """It is not quick any more."""
        with self._lock:
            self._quick.pop((owner, text), None)

    def forget(self, kind: str) -> None:
        """Note a statement of that ``kind``: names may mean something else from now on."""
        if changes_names(kind):
            with self._lock:
                self._quick.clear()

    def may_run(
        self, cursor: duckdb.DuckDBPyConnection, owner: str | None, statement: Statement
    ) -> bool:
        """Whether to run ``statement`` early on ``cursor``, which is the owner's."""
        key = owner, statement.text
        with self._lock:
            known = self._quick.get(key, False)
        if known is None:
            known = self._is_steady(cursor, statement.text)
            with self._lock:
                if key in self._quick:  # nothing has changed meanwhile
                    self._quick[key] = known
                else:
                    known = False
        return known

    def _is_steady(self, cursor: duckdb.DuckDBPyConnection, text: str) -> bool:
        try:
            row = cursor.execute(_SERIALIZE, [text]).fetchone()
        except duckdb.Error:
            return False
        tree: dict[str, object] = json.loads(row[0]) if row else {"error": True}
        return not tree["error"] and all(map(self._knows, _nodes(tree["plans"])))

    def _knows(self, node: dict[str, object]) -> bool:
        """Return whether the node is on the lists, and a table is the user's own."""
        kind = node.get("type")
        if isinstance(kind, str) and kind.startswith("LOGICAL_") and kind not in _OPERATORS:
            return False
        if node.keys() & _OF_FUNCTIONS and node.get("name") not in _FUNCTIONS:
            return isinstance(kind, str) and kind in _WINDOWS
        return "catalog" not in node or node["catalog"] == self._catalog


def _nodes(tree: object) -> Iterator[dict[str, object]]:
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            yield item
            pending.extend(item.values())
