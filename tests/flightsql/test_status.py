"""What becomes of exceptions on their way to and from the wire."""

from __future__ import annotations

import logging
import re

import pytest

from pondflight.errors import Internal
from pondflight.flightsql.status import from_pyarrow


def test_what_is_not_pyarrows_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        told = from_pyarrow(ValueError("a secret"))
    assert isinstance(told, Internal)
    reference = re.fullmatch(r"internal error, reference (\w+): see the server's log", told.message)
    assert reference is not None
    assert reference[1] in caplog.text
    assert "a secret" in caplog.text
