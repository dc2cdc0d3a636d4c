"""The ADBC driver, through the proxy."""

from __future__ import annotations

import pytest
from adbc_driver_manager import ProgrammingError

from integration.deployment import Deployment


def test_two_users_at_once_see_nothing_of_each_other(deployment: Deployment) -> None:
    with deployment.connect("ada") as ada, deployment.connect("bob") as bob:
        with ada.cursor() as cursor:
            cursor.execute("CREATE TABLE mine AS SELECT 1 AS n")
        ada.commit()
        with bob.cursor() as cursor, pytest.raises(ProgrammingError, match="does not exist"):
            cursor.execute("SELECT * FROM mine")
