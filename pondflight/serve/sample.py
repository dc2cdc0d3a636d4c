"""A small database to try things on: sightings at the ponds of one county in a year.

The rows are always the same.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

ALIAS = "sample"
QUERY = """\
SELECT species, count(*) AS sightings, sum(birds) AS birds
FROM sample.sightings JOIN sample.ponds USING (pond_id)
WHERE area_ha > 2
GROUP BY ALL
ORDER BY birds DESC
LIMIT 5"""

_SIGHTINGS = 5000
_PLACES = ("Alder", "Birch", "Crane", "Dew", "Elm", "Fern", "Glass", "Heron", "Iris", "Juniper")
_KINDS = ("Pond", "Mere", "Lake", "Pool")
_SPECIES = {
    "mallard": 9,
    "coot": 7,
    "mute swan": 4,
    "tufted duck": 4,
    "grey heron": 3,
    "great crested grebe": 2,
    "kingfisher": 1,
    "osprey": 1,
}
_OBSERVERS = ("Ada", "Bo", "Chen", "Dara", "Emil", "Fatima", "Goran", "Hana")


def build(path: Path) -> None:
    """Write the database to ``path``, which must not exist."""
    dice = random.Random(1937)  # noqa: S311  the same birds every time
    ponds = [
        (number, f"{place} {kind}", round(dice.uniform(0.2, 12), 1), dice.randint(1, 9))
        for number, (place, kind) in enumerate(((p, k) for p in _PLACES for k in _KINDS), start=1)
    ]
    start = date(2025, 1, 1)
    sightings = [
        (
            number,
            dice.randint(1, len(ponds)),
            (start + timedelta(days=dice.randrange(365))).isoformat(),
            dice.choices(list(_SPECIES), weights=list(_SPECIES.values()))[0],
            min(40, 1 + int(dice.expovariate(0.25))),
            dice.choice(_OBSERVERS),
        )
        for number in range(1, _SIGHTINGS + 1)
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            """
            CREATE TABLE ponds (
                pond_id INTEGER PRIMARY KEY,
                name VARCHAR NOT NULL,
                area_ha DOUBLE NOT NULL,
                depth_m INTEGER NOT NULL
            );
            CREATE TABLE sightings (
                sighting_id INTEGER PRIMARY KEY,
                pond_id INTEGER NOT NULL REFERENCES ponds (pond_id),
                day DATE NOT NULL,
                species VARCHAR NOT NULL,
                birds INTEGER NOT NULL,
                observer VARCHAR NOT NULL
            );
            """
        )
        connection.executemany("INSERT INTO ponds VALUES (?, ?, ?, ?)", ponds)
        connection.executemany("INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?)", sightings)
