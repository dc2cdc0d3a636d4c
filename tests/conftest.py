"""For all tests: no timing is a test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("pondflight", deadline=None)
settings.load_profile("pondflight")
