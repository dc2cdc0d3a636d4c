"""docs/security.md: what nobody can do links to a test, and each test that is named is there."""

from __future__ import annotations

from tests import links

PAGE = links.page("security.md")


def test_each_line_of_who_can_do_what_has_a_test() -> None:
    _, _, section = PAGE.partition("## Who can do what")
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows[0] == "| who | cannot | shown by |"
    assert len(rows) > 10
    for row in rows[1:]:
        assert links.linked(row), row


def test_every_test_that_is_named_exists() -> None:
    assert len(links.linked(PAGE)) > 20
    assert links.missing(PAGE) == []


def test_a_test_that_is_not_there_is_missing() -> None:
    there, name = "tests/test_security_page.py", "test_that_nobody_wrote"
    assert links.missing(
        f"[`{name}`](../{there}) [it](../{there}#{name}) [it](../{there}) `tests/none.py` `{there}`"
    ) == ["tests/none.py#", f"{there}#{name}", f"{there}#{name}"]
