"""What is read from the text of a statement before DuckDB sees it."""

from __future__ import annotations

from pondflight.engine.sql.lexer import names


def test_names_are_what_stands_outside_of_strings_and_comments() -> None:
    found = names(
        """SELECT "My ""db".t, Shop.orders.id -- hidden1
        FROM x WHERE a = 'hidden2' AND b = $$hidden3$$ AND c = E'hidden4' /* hidden5 */"""
    )
    assert {'my "db', "shop", "orders", "x"} <= found
    assert not any(name.startswith("hidden") for name in found)
