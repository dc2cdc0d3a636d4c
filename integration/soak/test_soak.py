"""A short soak, or a long one: ``make soak MINUTES=10 USERS=30``."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from integration.soak.soak import Soak

SECONDS = 60 * float(os.environ.get("MINUTES", "1"))
USERS = int(os.environ.get("USERS", "6"))


# The driver closes a cursor again whose statement could not be closed, since its connection broke.
@pytest.mark.filterwarnings("ignore:Failed to close cursor")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function Cursor.__del__")
@pytest.mark.timeout(3 * SECONDS + 900)  # Maven downloads the driver the first time
def test_everybody_sees_their_own_and_nothing_is_left_behind(tmp_path: Path) -> None:
    soak = Soak(tmp_path, USERS)
    with soak.running():
        first = soak.half(SECONDS / 3)
        second = soak.half(SECONDS * 2 / 3)
        soak.check_all_are_served()
        log = soak.deployment.log()
    gc.collect()
    tally = soak.tally
    sys.stdout.write(
        f"{SECONDS:g} s, {USERS} users, {soak.faults} faults: {tally.whole.total()} whole, "
        f"{tally.errors.total()} errors, {len(tally.wrong)} wrong\n"
        f"held after a third: {first}\nheld at the end:    {second}\n"
        + "".join(f"{count:6} {words}\n" for words, count in tally.errors.most_common(20))
    )
    assert tally.wrong == []
    assert set(tally.whole) == {*soak.by_jdbc, *soak.by_adbc}
    assert "Traceback" not in log
    assert (first.workers, second.workers) == (0, 0)
    assert second.descriptors <= first.descriptors + 10
    assert second.threads <= first.threads + 10
    assert second.memory <= first.memory + (64 << 20)
