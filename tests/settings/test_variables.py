from __future__ import annotations

import pytest

from tests.settings.support import Load, Problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "value"),
        ("a-${NAME}-b-${OTHER}", "a-value-b-"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("$NAME", "$NAME"),
        ("${NESTED}", "${NAME}"),
        ("100$", "100$"),
    ],
)
def test_variable_in_a_value_is_replaced_once(read: Load, text: str, value: str) -> None:
    environ = {"NAME": "value", "OTHER": "", "NESTED": "${NAME}"}
    settings = read(f"ai: {{openai_api_key: '{text}'}}", environ)
    assert settings.ai.openai_api_key is not None
    assert settings.ai.openai_api_key.get_secret_value() == value


def test_variable_is_replaced_in_numbers_lists_and_items_of_lists(read: Load) -> None:
    settings = read(
        """
        server: {port: "${P}"}
        duckdb:
          extensions: ["${E}"]
          attached_databases:
            - {alias: a, type: sqlite, connection_string: "/data/${F}.db", read_only: "${R}"}
        """,
        {"P": "9000", "E": "json", "F": "shop", "R": "false"},
    )
    assert settings.server.port == 9000
    assert settings.duckdb.extensions == ("json",)
    (database,) = settings.duckdb.attached_databases
    assert database.connection_string.get_secret_value() == "/data/shop.db"
    assert database.read_only is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NOPE}", "the environment variable NOPE is not set (from FILE)"),
        ("${NAME:-x}", "${...} takes the name of an environment variable and nothing else"),
        ("${}", "${...} takes the name of an environment variable and nothing else"),
    ],
)
def test_variable_that_cannot_be_replaced_is_an_error_that_names_the_key(
    problems: Problems, text: str, expected: str
) -> None:
    (problem,) = problems(f"server: {{port: '{text}'}}", {"NAME": "1"})
    assert problem.startswith(f"server.port: {expected}")


def test_wrong_value_tells_which_variable_it_came_from(problems: Problems) -> None:
    (problem,) = problems("server: {port: '${P}'}", {"P": "x"})
    assert problem.startswith("server.port: 'x' is not accepted (from FILE, with ${P} replaced);")
