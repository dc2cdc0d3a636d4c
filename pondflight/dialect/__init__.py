"""What pondflight tells clients about its SQL, the same for every user.

The proxy answers from here without starting a worker, so nothing in this package imports DuckDB.
"""

from __future__ import annotations

from pondflight.dialect.datatypes import xdbc_type_info
from pondflight.dialect.sqlinfo import SQL_INFO
from pondflight.dialect.tabletypes import TABLE_TYPES, table_types

__all__ = ["SQL_INFO", "TABLE_TYPES", "table_types", "xdbc_type_info"]
