"""From words to a query: whatever the model answers, only what passes the check comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pondflight.ai import sql as ai_sql
from pondflight.ai.conversation import End, Message, Text, Usage
from pondflight.ai.sql import LONGEST_ANSWER, LONGEST_SCHEMA, NoQuery, Table, Written, describe
from pondflight.errors import InvalidArgument, Unavailable

TABLES = [Table("shop.orders", ("id BIGINT", "total DECIMAL(10,2)"))]


class Scripted:
    """A model that answers what it is told to."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[tuple[Message, ...]] = []
        self.closed = 0

    async def __call__(self, messages: tuple[Message, ...]) -> Scripted:
        self.asked.append(messages)
        return self

    async def __aiter__(self) -> AsyncIterator[Text | End]:
        text = self.texts.pop(0)
        for start in range(0, len(text), 1000):
            yield Text(text[start : start + 1000])
        yield End("stop", Usage(10, 2))

    async def close(self) -> None:
        self.closed += 1


def write(question: str, tables: list[Table], ask: Any, check: Any) -> Written:
    return asyncio.run(ai_sql.write(question, tables, ask, check))


async def select_only(sql: str) -> None:
    if not sql.upper().startswith("SELECT") or ";" in sql:
        raise InvalidArgument(f"not a query: {sql[:20]}")


@pytest.mark.parametrize(
    "answer",
    [
        "SELECT 1",
        "  SELECT 1 ;\n",
        "```sql\nSELECT 1\n```",
        "Here you are:\n```\nSELECT 1;\n```\nThat is all.",
        "```sql\r\nSELECT 1\r\n```\r\n",
        "~~~ postgres-sql\nSELECT 1\n~~~",
        "````\nSELECT 1\n````",
        "```sql\nSELECT 1",
        "```SELECT 1```",
        "`SELECT 1`",
        "<think>Perhaps\n```sql\nDROP TABLE x\n```</think>\n```sql\nSELECT 1\n```",
    ],
)
def test_the_query_is_taken_out_of_the_answer(answer: str) -> None:
    written = write("how many?", TABLES, Scripted(answer), select_only)
    assert (written.sql, written.repaired, written.usage) == ("SELECT 1", False, Usage(10, 2))


def test_a_fence_inside_of_the_query_is_part_of_it() -> None:
    answer = "```sql\nSELECT '```' AS x,\n  '`' AS y\n```"
    written = write("?", TABLES, Scripted(answer), select_only)
    assert written.sql == "SELECT '```' AS x,\n  '`' AS y"


def test_the_model_sees_the_tables_and_the_question() -> None:
    model = Scripted("SELECT 1")
    write("how many?", TABLES, model, select_only)
    ((system, user),) = model.asked
    assert "shop.orders(id BIGINT, total DECIMAL(10,2))" in system.content
    assert user.content == "how many?"


def test_a_refused_query_is_repaired_once() -> None:
    model = Scripted("DROP TABLE orders", "SELECT 2")
    written = write("how many?", TABLES, model, select_only)
    assert (written.sql, written.repaired, written.usage) == ("SELECT 2", True, Usage(20, 4))
    assert "not a query: DROP TABLE orders" in model.asked[1][-1].content
    assert model.asked[1][-2] == Message("assistant", "DROP TABLE orders")


@pytest.mark.parametrize(
    "answers",
    [
        ("DROP TABLE orders", "DELETE FROM orders"),
        ("SELECT 1; DROP TABLE orders", "SELECT 1; SELECT 2"),
        ("I cannot do that, sorry.", "As I said, no."),
    ],
)
def test_a_second_failure_is_the_last(answers: tuple[str, str]) -> None:
    model = Scripted(*answers)
    with pytest.raises(NoQuery, match="not a query") as caught:
        write("drop everything", TABLES, model, select_only)
    assert len(model.asked) == 2
    assert caught.value.sql == answers[1]
    assert caught.value.http == 422


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("NO QUERY: it asks for other users' data", "asks for other users' data"),
        ("no query", "gives no reason"),
        ("```\nNO QUERY: it is about love\n```", "it is about love$"),
        ("", "answered nothing"),
        ("```sql\n```", "answered nothing"),
        ("SELECT 1 -- " + "x" * (1 << 20), "too long"),
    ],
)
def test_no_query_is_said_so(answer: str, words: str) -> None:
    model = Scripted(answer)
    with pytest.raises(NoQuery, match=words):
        write("?", TABLES, model, select_only)
    assert model.closed == 1


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    pieces = 0

    class Endless(Scripted):
        async def __aiter__(self) -> AsyncIterator[Text | End]:
            nonlocal pieces
            while True:
                pieces += 1
                yield Text("x" * 1000)

    with pytest.raises(NoQuery, match="too long"):
        write("?", TABLES, Endless(), select_only)
    assert pieces <= LONGEST_ANSWER / 1000 + 1


def test_what_is_no_mistake_in_the_query_is_not_repaired() -> None:
    model = Scripted("SELECT 1", "SELECT 2")

    async def unavailable(_sql: str) -> None:
        raise Unavailable("the worker is starting")

    with pytest.raises(Unavailable):
        write("?", TABLES, model, unavailable)
    assert len(model.asked) == 1


def test_of_too_many_tables_those_that_the_question_names_are_kept() -> None:
    many = [Table(f"big.table_{i}", tuple(f"c{j} VARCHAR" for j in range(50))) for i in range(500)]
    wanted = Table("zoo.penguins", ("weight DOUBLE",))
    text = describe("How heavy are the penguins?", [*many, wanted])
    assert text.startswith("zoo.penguins(weight DOUBLE)")
    assert len(text) <= LONGEST_SCHEMA
