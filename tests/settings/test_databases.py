from __future__ import annotations

import pytest

from pondflight.settings import DatabaseType
from tests.settings.support import DATABASE, Load, Problems

GOOD_DATABASES = [
    ("postgres", "postgresql://u:p@h:5432/d", DatabaseType.POSTGRES),
    ("postgresql", "postgres://u:p%2F@h/d?sslmode=require", DatabaseType.POSTGRES),
    ("postgres", "postgresql://u@[::1]:5432/d", DatabaseType.POSTGRES),
    ("postgres", "postgresql://u:[p@h/d", DatabaseType.POSTGRES),
    ("postgres", "postgresql://u:p@a:1,b:2/d?target_session_attrs=any", DatabaseType.POSTGRES),
    ("postgres", "postgresql:///d?host=/run/postgresql&user=u", DatabaseType.POSTGRES),
    ("mysql", "mysql://u:p@h/d?ssl-mode=REQUIRED&ssl_ca=%2Fa%2Fb", DatabaseType.MYSQL),
    ("MySQL", "mysql://u:p@h:3306/d", DatabaseType.MYSQL),
    ("sqlite", "/data/a b.db", DatabaseType.SQLITE),
    ("duckdb", "/data/a.duckdb", DatabaseType.DUCKDB),
]


@pytest.mark.parametrize(("name", "connection_string", "expected"), GOOD_DATABASES)
def test_attached_database_is_read(
    read: Load, name: str, connection_string: str, expected: DatabaseType
) -> None:
    (database,) = read(
        DATABASE.format(type=name, connection_string=connection_string)
    ).duckdb.attached_databases
    assert (database.alias, database.type, database.read_only) == ("shop", expected, True)
    assert database.connection_string.get_secret_value() == connection_string


@pytest.mark.parametrize(
    ("name", "connection_string", "why"),
    [
        ("postgres", "mysql://u:hunter2@h/d", "is not a URL that begins with postgresql://"),
        ("postgres", "host=h password=hunter2", "is not a URL that begins with postgresql://"),
        ("postgres", "postgresql://u:hunter2@/d", "names no host"),
        ("postgres", "postgresql://u:hunter2@h:99999/d", "is not a URL"),
        ("postgres", "postgresql://u:hunter2@h:0/d", "has the port 0"),
        ("postgres", "postgresql://u:hunter2@h", "names no database after the host"),
        ("postgres", "postgresql://u:hunter2/x@h/d", "is not a URL"),
        ("postgres", "postgresql://u:hunter2@@h/d", "is not a URL"),
        ("postgres", "postgresql://u:hunter2@h,h2:7/", "names no database after the host"),
        ("postgres", "postgresql://u:hunter%2@h/d", "has a '%' with no two hexadecimal digits"),
        ("postgres", "postgresql://u:hunter2%ff@h/d", "has percent-encoded bytes that are not"),
        ("postgres", "postgresql://u:hunter2%00@h/d", "has a control character in it"),
        ("postgres", "postgresql://u@h/d?hunter2=1", "has an option that postgres connections"),
        ("postgres", "postgresql://u:hunter2@h/d?sslmod=require", "has an option that postgres"),
        ("postgres", "postgresql://u:hunter2@h/d?sslmode=on", "has another sslmode than disable"),
        ("postgres", "postgresql://u:hunter2@h/d?connect_timeout=1s", "has a connect_timeout that"),
        ("postgres", "postgresql://u:hunter2@h/d?sslmode", "has an option without a value"),
        ("postgres", "postgresql://u:hunter2@/d?host=a,b&port=1,2,3", "must have as many ports"),
        ("mysql", "mysql://u:hunter2@h/d?sslmode=require", "has an option that mysql connections"),
        ("mysql", "mysql://u:hunter2@h/d?ssl-mode=on", "has another ssl_mode than disabled"),
        ("mysql", "mysql://u:hunter2@h,g/d", "names more than one host"),
        ("mysql", "/hunter2", "is not a URL that begins with mysql://"),
        ("sqlite", "hunter2.db", "is not an absolute path"),
        ("duckdb", "postgresql://u:hunter2@h/d", "is not an absolute path"),
        ("sqlite", "/hunter2\\0.db", "has a control character in it"),
        ("sqlite", "", "is empty"),
    ],
)
def test_misshapen_connection_string_is_refused_and_not_shown(
    problems: Problems, name: str, connection_string: str, why: str
) -> None:
    (problem,) = problems(DATABASE.format(type=name, connection_string=connection_string))
    assert problem.startswith(f"duckdb.attached_databases[0].connection_string: *** {why}")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "alias", ["", "1a", "a b", "a-b", "a.b", "a" * 64, "ä", "main", "Memory", "pg_catalog", "true"]
)
def test_alias_that_is_no_name_or_taken_is_refused(problems: Problems, alias: str) -> None:
    (problem,) = problems(
        "duckdb: {attached_databases: [{alias: "
        + (alias if alias == "true" else repr(alias))
        + ", type: sqlite, connection_string: /a}]}"
    )
    assert problem.startswith("duckdb.attached_databases[0].alias: ")


def test_missing_keys_of_an_attached_database_are_named(problems: Problems) -> None:
    found = problems("duckdb: {attached_databases: [{alias: a, type: null}]}")
    assert [problem.partition(";")[0] for problem in found] == [
        "duckdb.attached_databases[0].type is missing (from FILE)",
        "duckdb.attached_databases[0].connection_string is missing (from FILE)",
    ]


def test_secret_under_a_wrong_key_is_not_shown(problems: Problems) -> None:
    found = problems(
        """
        duckdb:
          attached_databases:
            - postgresql://u:hunter2@h/d
            - {alias: "postgresql://u:hunter2@h/d", type: sqlite, connection_string: /a}
            - {alias: a, type: "postgresql://u:hunter2@h/d", connection_string: /a}
            - {alias: b, type: sqlite, connection_string: ["hunter2"]}
            - {alias: c, type: sqlite, connection_string: /a, password: hunter2}
        ai: hunter2
        """
    )
    assert len(found) == 6
    assert not [problem for problem in found if "hunter2" in problem]


def test_equal_aliases_are_refused_whatever_their_case(problems: Problems) -> None:
    (problem,) = problems(
        """
        duckdb:
          attached_databases:
            - {alias: shop, type: sqlite, connection_string: /a}
            - {alias: SHOP, type: sqlite, connection_string: /b}
        """
    )
    assert problem == (
        "duckdb.attached_databases: two databases must not have the alias 'shop', in whatever"
        " case (from FILE)"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Postgres", "postgres"),
        ("postgres_scanner", "postgres"),
        ("mysql_scanner", "mysql"),
        ("sqlite3", "sqlite"),
        ("parquet", "parquet"),
    ],
)
def test_extension_is_known_by_each_of_its_names(read: Load, name: str, expected: str) -> None:
    assert read(f"duckdb: {{extensions: [{name}]}}").duckdb.extensions == (expected,)


@pytest.mark.parametrize(
    "allow",
    [
        "",
        "null",
        "{}",
        "[]",
        "ann",
        "[ann]",
        "{sub: null}",
        "{sub: []}",
        "{sub: {x: 1}}",
        "{sub: [[ann]]}",
        "{'': [ann]}",
        "{1: [ann]}",
    ],
)
def test_whoever_begins_to_say_who_sees_a_database_has_to_say_it(
    problems: Problems, allow: str
) -> None:
    (problem,) = problems(
        f"""
        duckdb:
          attached_databases:
            - alias: shop
              type: sqlite
              connection_string: /a
              allow: {allow}
        """
    )
    assert problem.startswith("duckdb.attached_databases[0].allow: ")
    assert "accepted: a mapping of claims to lists of values" in problem


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ("{sub: ann}", {"sub": ("ann",)}),
        ("{sub: [ann, bob], level: 3}", {"sub": ("ann", "bob"), "level": (3,)}),
        ("{verified: true}", {"verified": (True,)}),
    ],
)
def test_one_value_of_a_claim_needs_no_list(
    read: Load, allow: str, expected: dict[str, tuple[object, ...]]
) -> None:
    text = DATABASE.format(type="sqlite", connection_string="/a") + f"      allow: {allow}\n"
    (database,) = read(text).duckdb.attached_databases
    assert database.allow == expected
