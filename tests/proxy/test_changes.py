"""What one proxy process lets run is known to the others at once."""

from __future__ import annotations

from pathlib import Path

from pondflight.proxy.changes import Changes, create


def test_a_change_at_any_process_is_seen_at_each(tmp_path: Path) -> None:
    create(tmp_path / "changes", 2)
    one, other = (Changes(tmp_path / "changes", 2, number) for number in range(2))
    before = one.seen("w")
    assert one.none_since(before)
    place = other.begin("w").place
    assert not one.none_since(before)
    assert not one.none_since(one.seen("w"))  # what it will have changed is not known yet
    other.end(place, changed=True)
    assert not one.none_since(before)
    assert one.none_since(one.seen("w"))


def test_what_has_only_read_changes_nothing(tmp_path: Path) -> None:
    create(tmp_path / "changes", 2)
    one, other = (Changes(tmp_path / "changes", 2, number) for number in range(2))
    since = other.begin("w")
    other.end(since.place, changed=False)
    assert other.none_since(since)
    one.note(since.place)
    assert not other.none_since(since)


def test_what_a_crashed_process_ran_is_not_waited_for(tmp_path: Path) -> None:
    create(tmp_path / "changes", 2)
    one, other = (Changes(tmp_path / "changes", 2, number) for number in range(2))
    before = one.seen("w")
    other.begin("w")
    Changes(tmp_path / "changes", 2, 1)  # the one that is started in its place
    assert not one.none_since(before)
    assert one.none_since(one.seen("w"))
