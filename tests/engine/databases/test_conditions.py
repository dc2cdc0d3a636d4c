"""What servers are asked for, of the filters that are in plans."""

from __future__ import annotations

import pytest

from pondflight.engine.databases.conditions import (
    condition,
    double_quotes,
    literal_for,
    literal_for_postgres,
    plain,
    pushed_condition,
)

_TYPES = {
    "id": ("int", "INTEGER"),
    "price": ("decimal", "DECIMAL(8,2)"),
    "size": ("double", "DOUBLE"),
    "made": ("date", "DATE"),
    "seen": ("datetime", "TIMESTAMP"),
    "name": ("varchar", "VARCHAR"),
    "flag": ("tinyint", "BOOLEAN"),
    "year": ("year", "INTEGER"),
    "exact": ("decimal", "DOUBLE"),
    "stamped": ("timestamp", "TIMESTAMP"),
    "small": ("float", "FLOAT"),
}
COLUMNS = {
    name: write for name, types in _TYPES.items() if (write := literal_for(*types)) is not None
}


def _sql(expression: str, *, lower_only: bool = False) -> str | None:
    found = condition(expression, COLUMNS, lower_only=lower_only)
    return None if found is None else found.sql


def test_numbers_and_dates_are_compared_by_mysql_and_nothing_else() -> None:
    assert set(COLUMNS) == {"id", "price", "size", "made", "seen"}


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("(id = 5)", "`id` = 5"),
        ("(id != -5)", "`id` != -5"),
        ('("id" >= 5)', "`id` >= 5"),
        ("(price > 1.50)", "`price` > 1.50"),
        ("(size < 2.5)", "`size` < 2.5e0"),
        ("(size < 1e+300)", "`size` < 1e+300"),
        ("(made = '2020-02-29'::DATE)", "`made` = '2020-02-29'"),
        ("(seen = '2020-02-29 01:02:03.5'::TIMESTAMP)", "`seen` = '2020-02-29 01:02:03.5'"),
        ("(id BETWEEN 3 AND 7)", "`id` >= 3 AND `id` <= 7"),
        ("(id IN (3, 7))", "`id` IN (3, 7)"),
        ("((id = 5) AND (name = 'x'))", "`id` = 5"),
        ("((name = 'x') AND (id = 5) AND flag)", "`id` = 5"),
        (
            "(flag AND (id BETWEEN 3 AND 7) AND (price = 1))",
            "`id` >= 3 AND `id` <= 7 AND `price` = 1",
        ),
        ("((id = 1) OR (id = 5))", "(`id` = 1 OR `id` = 5)"),
        ("((id = 1) OR (name = 'x'))", None),
        ("((id = 1) OR ((id > 5) AND (name = 'x')))", "(`id` = 1 OR `id` > 5)"),
        ("((name = 'a) AND (id = 6') AND (id = 5))", "`id` = 5"),
        ("((name = 'a'') OR (id = 6)') AND (id = 5))", "`id` = 5"),
        ("(name = 'x')", None),
        ("(flag = true)", None),
        ("(year = 99)", None),
        ("(small = 0.1)", None),
        ("(exact = 0.1)", None),
        ("(stamped = '2020-01-01 00:00:00'::TIMESTAMP)", None),
        ("(id = '5')", None),
        ("(id = 5.5)", None),
        ("(id = NULL)", None),
        ("(size = 'nan'::DOUBLE)", None),
        ("(made = '2020-02-29')", None),
        ("(made = '12020-02-29'::DATE)", None),
        ("(made = '0044-03-15 (BC)'::DATE)", None),
        ("(made = 'infinity'::DATE)", None),
        ("(CAST(id AS DECIMAL(11,1)) > 5.5)", None),
        ("((id + 1) = 5)", None),
        ("(id = 5 OR 1)", None),
        ("(NOT (id = 5))", None),
        ("(id IN (3, 'x'))", None),
        ("(id IN (3 7))", None),
        ("(id NOT IN (3, 7))", None),
        ("(id = 5", None),
        ("id = 5", None),
        ("(#0 = 5)", None),
        ("IN (...)", None),
        ("", None),
    ],
)
def test_a_filter_is_written_anew_or_left_out(expression: str, sql: str | None) -> None:
    assert _sql(expression) == sql


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("(made > '2020-01-01'::DATE)", "`made` > '2020-01-01'"),
        ("(made BETWEEN '2020-01-01'::DATE AND '2020-02-01'::DATE)", "`made` >= '2020-01-01'"),
        ("((made < '2020-01-01'::DATE) AND (id >= 5))", "`id` >= 5"),
        ("(id = 5)", None),
        ("(id IN (5, 6))", None),
    ],
)
def test_a_constant_that_grows_is_a_lower_bound_only(expression: str, sql: str | None) -> None:
    assert _sql(expression, lower_only=True) == sql


def test_it_is_known_whether_a_condition_chooses_single_values() -> None:
    exact = ["(id = 5)", "((id = 5) OR (id = 7))", "((id = 5) AND (price > 1))", "(id IN (1, 2))"]
    wide = ["(id > 5)", "((id = 5) OR (id > 7))", "(id BETWEEN 1 AND 2)"]
    for expressions, expected in ((exact, True), (wide, False)):
        for expression in expressions:
            found = condition(expression, COLUMNS)
            assert found is not None
            assert found.exact is expected


@pytest.mark.parametrize("name", ["a", "A_1", "_x"])
def test_plain_names_are_known(name: str) -> None:
    assert plain(name)


@pytest.mark.parametrize("name", ["", "a b", "a`b", "a'b", "1a", "ä-", "a\nb", "a)"])
def test_names_that_are_not_plain_are_known(name: str) -> None:
    assert not plain(name)


_OF_POSTGRES = {
    name: write
    for name, type_ in (("id", "int4"), ("day", "date"), ("key", "uuid"), ("name", "text"))
    if (write := literal_for_postgres(type_)) is not None
}
_KEY = "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("filters", "sql"),
    [
        ("id=1", '"id" = 1'),
        (
            "id>=1 AND id<=5\nday>='2024-01-01'::DATE",
            '"id" >= 1 AND "id" <= 5 AND "day" >= \'2024-01-01\'',
        ),
        ("id>=1 AND id<=5", '"id" >= 1 AND "id" <= 5'),
        ("name='x'\nid=-3", '"id" = -3'),
        ("name='a\nid=7\n'\nid=3", '"id" = 3'),
        ("name='it''s id=7' AND id=3", '"id" = 3'),
        (f"key='{_KEY}'::UUID", f"\"key\" = '{_KEY}'"),
        ("name IS NOT NULL\nid<9", '"id" < 9'),
        ("optional: id=1 OR id=3", None),
        ("id=1 OR id=3", None),
        ("id=1 OR id=3\nid<9", '"id" < 9'),
        ("CASE WHEN name='a' AND id=2 THEN 1 ELSE 0 END=1", None),
        ("id=3\nCASE WHEN id=2 THEN 1 ELSE 0 END=1", None),
        ("id=1 IS NULL OR Dynamic Filter (id)", None),
        ("", None),
    ],
)
def test_filters_that_stand_behind_each_other_are_all_understood_or_none(
    filters: str, sql: str | None
) -> None:
    found = pushed_condition(filters, _OF_POSTGRES, quoted=double_quotes)
    assert (None if found is None else found.sql) == sql
