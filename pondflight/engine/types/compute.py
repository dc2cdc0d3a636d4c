"""``pyarrow.compute``, loaded on first use, since that takes 0.1 s of processor time."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import pyarrow.compute  # noqa: PLC0415

    return getattr(pyarrow.compute, name)
