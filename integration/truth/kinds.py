"""Every type of PostgreSQL, MariaDB and SQLite, with ordinary, extreme and odd values of it.

A line of a kind is a declaration, the Arrow type in which it arrives, and values as the database
writes them. A value behind ``!`` cannot arrive: reading it is an error, and what ``on_invalid`` says.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """A type of a database. ``values`` are SQL of its own; those in ``unreadable`` cannot arrive."""

    declared: str
    arrow: str
    values: tuple[str, ...]
    unreadable: tuple[str, ...] = field(default=())


def _kinds(text: str) -> tuple[Kind, ...]:
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        declared, arrow, *values = (word.strip() for word in line.removesuffix("|").split(" | "))
        unreadable = tuple(value[1:].strip() for value in values if value.startswith("!"))
        readable = tuple(value for value in values if not value.startswith("!"))
        found.append(Kind(declared, arrow, readable, unreadable))
    return tuple(found)


POSTGRES_BEFORE = (
    "CREATE EXTENSION IF NOT EXISTS citext",
    "CREATE EXTENSION IF NOT EXISTS hstore",
    "CREATE TYPE mood AS ENUM ('sad', 'Ok', 'it''s')",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN price AS numeric(8,2)",
    "CREATE DOMAIN label AS text",
    "CREATE TYPE pair AS (a integer, b text)",
    "CREATE TYPE nested AS (p pair, n numeric(5,1))",
    "CREATE TYPE span AS RANGE (subtype = float8)",
)

POSTGRES = _kinds(r"""
    smallint | int16 | 0 | -32768 | 32767
    integer | int32 | 0 | -2147483648 | 2147483647
    bigint | int64 | 0 | -9223372036854775808 | 9223372036854775807
    smallserial | int16 | 1
    oid | uint32 | 0 | 4294967295
    numeric(10,2) | decimal128(10, 2) | 0 | 1.25 | -99999999.99 | ! 'NaN'
    numeric(38,0) | decimal128(38, 0) | 99999999999999999999999999999999999999 | -1
    numeric(38,37) | decimal128(38, 37) | 1.2345678901234567890123456789012345678 | -0.0000000000000000000000000000000000001
    numeric(3,-2) | string | 12300 | -99900
    numeric(3,5) | string | 0.00123
    numeric(50,10) | string | 1234567890123456789012345678901234567890.1234567891 | 0.0000000000
    numeric | string | 0 | 0.1 | 12345678901234567.89 | 1e-30 | 'NaN' | 'Infinity' | '-Infinity' | 1e40
    real | float | 0 | 1.1 | 3.4028235e38 | 1e-45 | 'NaN' | 'Infinity' | '-Infinity' | '-0'
    double precision | double | 0 | 1.1 | 1.7976931348623157e308 | 5e-324 | 'NaN' | 'Infinity' | '-Infinity' | '-0' | 0.1
    money | string | 0 | 1234567.89 | '-92233720368547758.08'
    boolean | bool | true | false
    text | string | '' | ' ' | 'a ' | 'é' | E'e\u0301' | '🦆' | 'NULL' | E'a\tb\nc\\' | repeat('x', 100000)
    varchar(10) | string | '' | 'a  ' | 'ééééééééé'
    char(5) | string | '' | 'a' | 'abcde' | ' a'
    "char" | string | 'a' | ''
    name | string | 'a' | 'é'
    citext | string | 'A' | 'a'
    bytea | binary | '' | '\x00ff5c27' | '\x5c5c' | 'abc'
    date | date32[day] | '2024-02-29' | '0001-01-01' | '4713-01-01 BC' | '5874897-12-31' | 'infinity' | '-infinity' | '1582-10-10' | '10000-01-01'
    time | time64[us] | '00:00' | '23:59:59.999999' | '24:00'
    time(0) | time64[us] | '12:34:56'
    timetz | string | '12:30+02' | '00:00-15:59' | '12:30:00.5+00' | '23:59:59.999999+15:59:59'
    timestamp | timestamp[us] | '2024-02-29 10:00' | '0001-01-01' | '1969-12-31 23:59:59.999999' | 'infinity' | '-infinity' | '4713-01-01 BC' | '99999-12-31 23:59:59' | ! '294276-12-31 23:59:59.999999'
    timestamp(3) | timestamp[us] | '2024-02-29 10:00:00.123'
    timestamptz | timestamp[us, tz=UTC] | '2024-02-29 10:00+02' | '1969-12-31 23:59:59.999999+00' | 'infinity' | '-infinity' | '10000-01-01 00:00+00' | ! '294276-12-31 23:59:59+00'
    interval | month_day_nano_interval | 'P1Y2M3DT4H5M6.789S' | '0' | '-1 day' | '1 mon -1 day 00:00:01' | '-00:00:00.000001' | '178000000 years' | ! '2562047788:00:54.775807'
    interval year to month | month_day_nano_interval | 'P1Y2M'
    uuid | string | '00000000-0000-0000-0000-000000000000' | 'ffffffff-ffff-ffff-ffff-ffffffffffff' | 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'
    json | string | '{}' | '{"a": 1.10, "a": 2}' | 'null' | '"é🦆"' | '  [1 ,2]'
    jsonb | string | '{}' | '{"b": 1.10, "a": [null]}' | 'null' | '12345678901234567890.123'
    jsonpath | string | '$.a[*] ? (@ > 1)'
    xml | string | '<a>é</a>' | '<b/>'
    bit(3) | string | B'101' | B'000'
    bit varying(70) | string | B'1' | B'1010101010101010101010101010101010101010101010101010101010101010111'
    inet | string | '192.168.0.1/24' | '::1' | '10.0.0.1'
    cidr | string | '192.168.0.0/24' | '::/0'
    macaddr | string | '08:00:2b:01:02:03'
    macaddr8 | string | '08:00:2b:01:02:03:04:05'
    point | struct<x: double, y: double> | '(1.5,-2)'
    line | list<item: double> | '{1,2,3}'
    lseg | list<item: double> | '[(0,0),(1,1)]'
    box | list<item: double> | '(1,1),(0,0)'
    path | list<item: double> | '[(0,0),(1,1)]' | '((0,0),(1,1))'
    polygon | list<item: double> | '((0,0),(1,1),(1,0))'
    circle | list<item: double> | '<(1,2),3>'
    tsvector | string | 'a:1 cat:3'
    tsquery | string | 'fat & rat'
    pg_lsn | string | '16/B374D848'
    txid_snapshot | string | '10:20:10,14,15'
    pg_snapshot | string | '10:20:10,14,15'
    xid | string | '4294967295' | '0'
    xid8 | string | '18446744073709551615'
    cid | string | '4294967295'
    tid | string | '(1,2)'
    regclass | string | 'pg_class'
    regtype | string | 'integer'
    regproc | string | 'now'
    regprocedure | string | 'abs(integer)'
    regoper | string | 'pg_catalog.||/'
    regoperator | string | '+(integer,integer)'
    regrole | string | 'admin'
    regnamespace | string | 'pg_catalog'
    regconfig | string | 'english'
    regdictionary | string | 'simple'
    regcollation | string | '"C"'
    refcursor | string | 'portal'
    int2vector | string | '1 2 3'
    oidvector | string | '1 2 3'
    int4range | string | '[1,5)' | 'empty' | '(,)'
    int8range | string | '[1,5)'
    numrange | string | '[1.1,2.2]'
    tsrange | string | '[2024-01-01,2024-02-01)'
    tstzrange | string | '[2024-01-01 00:00+00,)'
    daterange | string | '[2024-01-01,2024-02-01)'
    span | string | '[1.5,2)'
    int4multirange | string | '{[1,2),[4,5)}'
    int8multirange | string | '{[1,2)}'
    nummultirange | string | '{[1.5,2)}'
    tsmultirange | string | '{}'
    tstzmultirange | string | '{}'
    datemultirange | string | '{[2024-01-01,2024-01-03)}'
    hstore | string | '"a"=>"1", "b"=>NULL'
    mood | string | 'sad' | 'Ok' | 'it''s'
    positive | int32 | 1 | 2147483647
    price | decimal128(8, 2) | 1.25 | -999999.99
    label | string | 'é' | ''
    pair | struct<a: int32, b: string> | ROW(1, 'x') | ROW(NULL, 'a "b", c')
    nested | struct<p: struct<a: int32, b: string>, n: decimal128(5, 1)> | ROW(ROW(1, 'x'), 1.5)
    integer[] | list<item: int32> | '{1,2,NULL}' | '{}' | ! '{{1,2},{3,4}}'
    text[] | list<item: string> | '{a,"b,c","NULL",NULL,""}' | '{"\"","\\"}'
    boolean[] | list<item: bool> | '{t,f,NULL}'
    numeric(10,2)[] | list<item: decimal128(10, 2)> | '{1.25,-3.10}'
    numeric[] | list<item: string> | '{1.25,12345678901234567.89}'
    double precision[] | list<item: double> | '{1.5,NaN,Infinity}'
    date[] | list<item: date32[day]> | '{2024-02-29,infinity}'
    timestamptz[] | list<item: timestamp[us, tz=UTC]> | '{"2024-02-29 10:00:00+00"}'
    uuid[] | list<item: string> | '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'
    mood[] | list<item: string> | '{sad,Ok}'
    jsonb[] | list<item: string> | '{"{\"a\": 1}"}'
    bytea[] | list<item: binary> | '{"\\x00ff"}'
""")

POSTGRES_LEFT_OUT = {
    "pg_node_tree": "cannot be written",
    "pg_ndistinct": "cannot be written",
    "pg_dependencies": "cannot be written",
    "pg_mcv_list": "cannot be written",
    "pg_brin_bloom_summary": "cannot be written",
    "pg_brin_minmax_multi_summary": "cannot be written",
    "gtsvector": "cannot be written",
    "aclitem": "its text depends on roles of the server",
}
"""Types of PostgreSQL's catalog that no column of users has, and why."""

MARIADB = _kinds(r"""
    tinyint | int8 | 0 | -128 | 127
    tinyint unsigned | uint8 | 0 | 255
    tinyint(1) | int8 | 0 | 1 | 2 | -1
    boolean | int8 | true | false
    smallint | int16 | -32768 | 32767
    smallint unsigned | uint16 | 65535
    mediumint | int32 | -8388608 | 8388607
    mediumint unsigned | uint32 | 16777215
    int | int32 | -2147483648 | 2147483647
    int unsigned | uint32 | 4294967295
    int(5) zerofill | uint32 | 7
    bigint | int64 | -9223372036854775808 | 9223372036854775807
    bigint unsigned | uint64 | 0 | 18446744073709551615
    decimal(10,2) | decimal128(10, 2) | 0 | -99999999.99 | 1.25
    decimal(38,0) | decimal128(38, 0) | 99999999999999999999999999999999999999
    decimal(38,38) | decimal128(38, 38) | 0.12345678901234567890123456789012345678
    decimal(39,0) | string | 999999999999999999999999999999999999999
    decimal(65,30) | string | 12345678901234567890123456789012345.123456789012345678901234567890 | -0.000000000000000000000000000001
    decimal(8,2) unsigned | decimal128(8, 2) | 999999.99
    float | float | 0 | 1.5 | -1.25e10 | 0.25
    double | double | 0 | 1.1 | 1.7976931348623157e308 | 2.2250738585072014e-308 | 0.1
    double unsigned | double | 1.5
    bit(1) | bool | b'0' | b'1'
    bit(8) | binary | b'0' | b'10100001'
    bit(64) | binary | b'1111111111111111111111111111111111111111111111111111111111111111'
    date | date32[day] | '2024-02-29' | '1000-01-01' | '9999-12-31' | ! '0000-00-00' | ! '2024-00-00' | ! '2024-02-00'
    datetime | timestamp[us] | '2024-02-29 10:00:00' | '1000-01-01' | '9999-12-31 23:59:59' | ! '0000-00-00 00:00:00' | ! '2024-00-00 10:00:00'
    datetime(6) | timestamp[us] | '2024-02-29 10:00:00.123456' | '9999-12-31 23:59:59.999999'
    datetime(3) | timestamp[us] | '2024-02-29 10:00:00.123'
    timestamp NULL | timestamp[us] | '2024-02-29 10:00:00' | '1970-01-01 00:00:01' | '2038-01-19 03:14:07' | ! '0000-00-00 00:00:00'
    timestamp(6) NULL | timestamp[us] | '2024-02-29 10:00:00.123456'
    time | time64[us] | '00:00:00' | '23:59:59' | ! '838:59:59' | ! '-838:59:59' | ! '-00:00:01' | ! '24:00:00'
    time(6) | time64[us] | '10:30:00.123456' | ! '-00:00:00.000001'
    year | int32 | 1901 | 2155 | 0
    char(5) | string | '' | 'a' | 'a  ' | 'ééééé' | ' a'
    varchar(20) | string | '' | 'a  ' | 'é🦆' | 'NULL' | 'a\tb\nc\\'
    varchar(20) CHARACTER SET latin1 | string | 'é' | 'ß'
    varchar(20) CHARACTER SET ucs2 | string | 'é' | '日本'
    varchar(20) CHARACTER SET utf16 | string | '🦆'
    varchar(20) CHARACTER SET gbk | string | '日本'
    varchar(20) CHARACTER SET sjis | string | '日本'
    varchar(20) COLLATE utf8mb4_bin | string | 'A' | 'a '
    tinytext | string | 'é'
    text | string | '' | REPEAT('x', 65535)
    mediumtext | string | 'é'
    longtext | string | REPEAT('é', 100000)
    binary(4) | binary | x'00ff' | 'abcd'
    varbinary(10) | binary | x'' | x'00ff5c27' | 'abc'
    tinyblob | binary | x'00ff'
    blob | binary | x'' | x'00ff'
    mediumblob | binary | x'00ff'
    longblob | binary | x'00ff'
    enum('red', 'Amber', 'it''s', '') | string | 'red' | 'Amber' | 'it''s' | ''
    set('a', 'b', 'c') | string | '' | 'a' | 'a,c'
    json | string | '{"a": 1.10}' | 'null' | '[1 ,2]'
    uuid | string | '123e4567-e89b-12d3-a456-426655440000'
    inet6 | string | '::1' | '192.0.2.1'
    inet4 | string | '192.0.2.1'
    point | binary | ST_GeomFromText('POINT(1 2)')
    linestring | binary | ST_GeomFromText('LINESTRING(0 0,1 1)')
    polygon | binary | ST_GeomFromText('POLYGON((0 0,1 1,1 0,0 0))')
    multipoint | binary | ST_GeomFromText('MULTIPOINT(0 0,1 1)')
    multilinestring | binary | ST_GeomFromText('MULTILINESTRING((0 0,1 1))')
    multipolygon | binary | ST_GeomFromText('MULTIPOLYGON(((0 0,1 1,1 0,0 0)))')
    geometrycollection | binary | ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')
    geometry | binary | ST_GeomFromText('POINT(1 2)')
    int GENERATED ALWAYS AS (id * 2) STORED | int32 |
    int GENERATED ALWAYS AS (id * 3) VIRTUAL | int32 |
""")

SQLITE = _kinds(r"""
    INTEGER | int64 | 0 | -9223372036854775808 | 9223372036854775807
    INT | int64 | 1
    BIGINT | int64 | 1
    UNSIGNED BIG INT | int64 | 1
    INT8 | int64 | 1
    BOOLEAN | int64 | 0 | 1 | 2
    REAL | double | 0 | 1.5 | 9e999 | -9e999 | 5e-324 | 0.1 | 1
    DOUBLE PRECISION | double | 1.5
    FLOAT | double | 1.5
    NUMERIC | double | 1.5 | 1
    DECIMAL(10,2) | double | 1.25 | 3
    TEXT | string | '' | 'a ' | 'é🦆' | 'NULL' | '123'
    VARCHAR(5) | string | 'longer than five'
    NCHAR(5) | string | 'a'
    CLOB | string | 'a'
    JSON | string | '{"a": 1.10}'
    BLOB | binary | x'' | x'00ff'
    DATE | date32[day] | '2024-02-29' | '0001-01-01' | '9999-12-31'
    TIME | time64[us] | '00:00:00' | '23:59:59.999999' | '10:30'
    DATETIME | timestamp[us] | '2024-02-29 10:00:00' | '2024-02-29 10:00:00.123456' | '2024-02-29' | '2024-02-29T10:00:00'
    TIMESTAMP | timestamp[us] | '0001-01-01 00:00:00'
    INTEGER | string | 1 | 'N/A'
    INTEGER | string | 1 | 1.5
    REAL | string | 1.5 | 'n/a'
    DATE | string | '2024-02-29' | 'yesterday' | 5
    TEXT | string | 'a' | CAST(x'ff41' AS TEXT)
    BLOB | binary | x'00' | 'text'
    NUMERIC | string | 9007199254740993 | 1.5
    UUID | string | 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
    "" | string | 'a'
    INTEGER GENERATED ALWAYS AS (id * 2) STORED | int64 |
    INTEGER GENERATED ALWAYS AS (id * 3) VIRTUAL | int64 |
""")

KINDS = {"postgres": POSTGRES, "mariadb": MARIADB, "sqlite": SQLITE}
BEFORE = {"postgres": POSTGRES_BEFORE, "mariadb": (), "sqlite": ()}
