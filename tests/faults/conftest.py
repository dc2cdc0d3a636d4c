from __future__ import annotations

from tests.proxy.conftest import fixture_make_deployment, fixture_shared, fixture_user

__all__ = ["fixture_make_deployment", "fixture_shared", "fixture_user"]
