"""POST /ai/sql: a question in words becomes a query, checked in the user's own worker."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import falcon
from falcon.asgi import Request, Response

from pondflight.ai.conversation import Message, Question
from pondflight.ai.models import Models
from pondflight.ai.sql import NoQuery, write
from pondflight.control import Json
from pondflight.web import json_text, problems
from pondflight.web.ai import answers, bodies
from pondflight.web.ai.callers import Askers
from pondflight.web.ai.reader import Reader
from pondflight.web.ai.tables import tables_of
from pondflight.web.exchange import Exchange
from pondflight.web.upstream import Upstream

MOST_ROWS: Final = 1000
MOST_BYTES: Final = 4 << 20
_MOST_TOKENS: Final = 4000
_LONGEST_QUESTION: Final = 10_000


class Sql:
    """``POST /ai/sql``."""

    def __init__(self, models: Models, askers: Askers, upstream: Upstream) -> None:
        self._models = models
        self._askers = askers
        self._upstream = upstream

    async def on_post(self, req: Request, resp: Response) -> None:
        """Write the query; with ``"rows": n``, run it as well and answer up to n rows."""
        asker = await self._askers.admit(req)
        body = await bodies.Body.of(req)
        words = body.need("question", bodies.text)
        model = body.take("model", bodies.model, self._models.settings.default_model)
        wanted = body.take("rows", bodies.whole(0, MOST_ROWS), 0)
        body.done()
        if len(words) > _LONGEST_QUESTION:
            raise falcon.HTTPBadRequest(description="'question' is too long")
        self._models.provider(model)  # fail without a key before any table is read
        tokens = min(_MOST_TOKENS, self._models.settings.max_tokens)

        async def ask(messages: tuple[Message, ...]) -> answers.Counted:
            question = Question(model, messages, tokens)
            return await answers.ask(self._models, question, req)

        Exchange.of(req).cancel_on_disconnect()
        reader = Reader(self._upstream, asker.token)
        found: Json = {}

        async def check(sql: str) -> None:
            await reader.call(lambda reader: reader.statement().check(sql))
            if wanted:  # some mistakes appear only with the rows
                found.update(await reader.call(lambda reader: fetch(reader, sql, wanted)))

        try:
            written = await write(words, await reader.call(tables_of), ask, check)
        except NoQuery as error:
            document = problems.problem(422, str(error), kind="no-query", title="No query")
            document |= {"sql": error.sql} if error.sql else {}
            raise problems.ProblemError(document) from error
        resp.media = {
            "sql": written.sql,
            "model": model,
            "repaired": written.repaired,
            "usage": asdict(written.usage),
            **found,
        }


def fetch(reader: Reader, sql: str, most: int) -> Json:
    """Run a query; return ``columns``, up to ``most`` ``rows`` as objects, and ``truncated``."""
    from pondflight.web import json_lines  # noqa: PLC0415 - memory, for those who need it

    result = reader.statement().run(sql, None)
    names = json_text.distinct(result.schema.names)
    rows: list[Json] = []
    size = 0
    truncated = False
    try:
        for batch in result:
            for start in range(0, batch.num_rows, MOST_ROWS):
                piece = batch.slice(start, min(MOST_ROWS, most - len(rows) + 1))
                for line in b"".join(json_lines.lines(piece, names)).splitlines():
                    size += len(line)
                    if len(rows) >= most or size > MOST_BYTES:
                        truncated = True
                        break
                    rows.append(json.loads(line))
                if truncated:
                    break
            if truncated:
                break
    finally:
        result.close()
    columns = [
        {"name": name, "type": str(field.type)}
        for name, field in zip(names, result.schema, strict=True)
    ]
    return {"columns": columns, "rows": rows, "truncated": truncated}
