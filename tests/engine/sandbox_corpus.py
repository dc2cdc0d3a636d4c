"""Statements that try every way out of the sandbox that we know, and some that stay free.

One a line; a line that begins with a blank goes on with the one before. ``{outside}`` is a CSV file
that nobody may read, ``{name}`` its name in the folder above ``{files}``, which is the user's own;
``{shop}`` is the SQLite file that is attached as ``shop`` and has the table ``goods``, ``{arch}`` a
DuckDB file that is attached as ``arch`` and has one as well. There is a table ``t`` with an
INTEGER column ``i``.
"""

from __future__ import annotations

import re

OUTSIDE = "outside.csv"

FILES = """
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM '/etc/passwd'
SELECT * FROM read_blob('/proc/self/environ')
SELECT * FROM read_blob('/proc/self/cmdline')
SELECT * FROM read_csv('{outside}')
SELECT * FROM read_csv_auto('{outside}')
SELECT * FROM '{outside}'
SELECT * FROM read_json('{outside}')
SELECT * FROM read_parquet('{outside}')
SELECT * FROM parquet_metadata('{outside}')
SELECT * FROM sniff_csv('{outside}')
SELECT * FROM read_duckdb('{outside}')
SELECT * FROM glob('/*')
SELECT * FROM glob('{files}/../*')
SELECT * FROM read_csv('{files}/../{name}')
SELECT * FROM read_text(['{files}/x', '/etc/passwd'])
SELECT * FROM query_table(['{outside}'])
COPY (SELECT 1) TO '/etc/owned'
COPY (SELECT 1) TO '{outside}'
COPY (SELECT 1) TO '{files}/../owned.csv'
COPY (SELECT 1) TO '/proc/self/mem' (FORMAT csv)
COPY (SELECT 1) TO '{shop}'
COPY (SELECT 1) TO '{shop}' (USE_TMP_FILE false)
COPY (SELECT 1) TO '{shop}' ("use_tmp_file" 'f')
COPY (SELECT 1) TO '{shop}.wal'
COPY (SELECT 1) TO '{shop}-journal'
COPY (SELECT 1) TO ('{files}/../' || 'owned.csv')
COPY (SELECT 1) TO ('{shop}' || '.wal')
COPY t TO E'{shop}.wal'
COPY t TO $${shop}.wal$$
COPY t (i) FROM ('{shop}' || '')
COPY (SELECT 1) TO '{arch}'
COPY (SELECT 1) TO '{arch}' (USE_TMP_FILE false)
COPY (SELECT 1) TO '{arch}.wal'
PREPARE x AS COPY (SELECT 1) TO '{arch}' (USE_TMP_FILE false)
PREPARE x AS COPY (SELECT 1) TO '{arch}.wal'
PREPARE x AS COPY (SELECT 1) TO '{outside}'
EXPLAIN ANALYZE COPY (SELECT 1) TO '{arch}' (USE_TMP_FILE false)
EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{arch}' (USE_TMP_FILE false)
EXPLAIN ANALYZE COPY (SELECT 1) TO '{outside}'
COPY (SELECT 1) TO 'x'
 '/../../arch.duckdb'
COPY (SELECT 1) TO 'x' -- which goes on
 '/../../arch.duckdb'
COPY (SELECT ''::BLOB AS b) TO 'x' (FORMAT blob)
COPY (SELECT ''::BLOB AS b) TO 'x' (FORMAT 'BLOB')
COPY (SELECT ''::BLOB AS b) TO 'x' ("FORMAT" E'bl\\x6fb')
COPY (SELECT ''::BLOB AS b) TO 'x' (FORMAT csv, FORMAT blob)
COPY (SELECT ''::BLOB AS b) TO 'x.blob'
COPY (SELECT ''::BLOB AS b) TO 'x.BLOB.gz'
PREPARE x AS COPY (SELECT ''::BLOB AS b) TO 'x' (FORMAT blob)
COPY (SELECT 1) TO 'x' (FORMAT postgres_binary)
COPY (SELECT 1) TO 'mine.db' (FORMAT csv)
COPY (SELECT 1) TO 'mine.DuckDB' (FORMAT csv)
COPY (SELECT 1) TO '{files}/mine.db.wal' (FORMAT csv)
COPY (SELECT 1) TO '~/x.csv'
COPY (SELECT 1) TO '~/../owned.csv'
COPY (SELECT 1) TO 'file:///tmp/owned.csv'
COPY (SELECT 1) TO './x/../../owned.csv'
COPY (SELECT 1) TO 'd' (FORMAT csv, PER_THREAD_OUTPUT true, FILENAME_PATTERN 'x{{i}}')
COPY (SELECT 1) TO 'd' (FORMAT csv, PER_THREAD_OUTPUT true, FILE_EXTENSION '/../../owned')
COPY (SELECT 1) TO 'd' (FORMAT csv, "file_extension" '/../../owned', PER_THREAD_OUTPUT)
COPY (SELECT 1 AS a) TO 'd' (PARTITION_BY (a), FORMAT csv, FILENAME_PATTERN '../x')
COPY (SELECT 1) TO 'x' WITH CSV FILE_EXTENSION '/../../owned'
EXPORT DATABASE 'mine.db'
EXPORT DATABASE memory TO '{files}/../owned'
COPY t FROM '{outside}'
EXPORT DATABASE '/tmp/owned'
EXPORT DATABASE '{files}/../owned'
IMPORT DATABASE '/tmp'
IMPORT DATABASE '{files}'
CREATE TABLE x AS SELECT * FROM read_text('/etc/passwd')
CREATE VIEW x AS SELECT * FROM read_text('/etc/passwd')
CREATE MACRO x() AS TABLE SELECT * FROM read_text('/etc/passwd')
PREPARE x AS SELECT * FROM read_text('/etc/passwd')
INSERT INTO t SELECT content::INT FROM read_text('/etc/passwd')
EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')
WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x
SELECT (SELECT content FROM read_text('/etc/passwd'))
.read /etc/passwd
SELECT getenv('HOME')
"""

DATABASES = """
ATTACH '{outside}' AS x
ATTACH '{shop}' AS x
ATTACH '{shop}' AS x (TYPE sqlite)
ATTACH '{shop}' AS x ("TYPE" 'sqlite')
ATTACH '{shop}' AS x (READ_ONLY, TYPE SQLITE)
ATTACH 'sqlite:{shop}' AS x
ATTACH $$sqlite:{shop}$$ AS x
ATTACH E'sqlite:{shop}' AS x
ATTACH ':memory:' AS x (TYPE sqlite)
ATTACH '{files}/../owned.db' AS x
ATTACH 'host=127.0.0.1 port=1' AS x (TYPE postgres)
ATTACH 'postgres:host=127.0.0.1 port=1' AS x
ATTACH 'host=127.0.0.1 port=1' AS x (TYPE mysql)
ATTACH 'md:' AS x
ATTACH '~/databases/shop' AS x
ATTACH '~/mine.db' AS x
ATTACH '../databases/shop' AS x
ATTACH '{files}/../databases/shop' AS x
ATTACH 'mine.csv' AS x
ATTACH 'mine' AS x
ATTACH 'd/mine.db' AS x
ATTACH './mine.db' AS x
ATTACH 'file:mine.db' AS x
ATTACH 'mine.db' AS x (SOMETHING_NEW 1)
ATTACH 'mine.db' AS x (READ_ONLY, "encryption_key" 'x')
ALTER DATABASE shop SET ALIAS TO x
ALTER DATABASE memory SET ALIAS TO x
ALTER DATABASE "shop" SET ALIAS TO x
/* */ ALTER DATABASE IF EXISTS arch SET ALIAS TO x
FROM read_duckdb('{files}/mine.db')
SELECT __internal_decompress_string(170141183460469231731687303715884105727::HUGEINT)
SELECT write_log('x')
CREATE MACRO w() AS write_log('x')
CREATE OR REPLACE TEMP MACRO w() AS system.main.write_log('x')
CREATE MACRO w(x) AS x, (x, y) AS "write_log" (x)
CREATE MACRO w() AS 'x'.write_log()
FROM t JOIN t AS u ON write_log('x') IS NULL
CALL add_parquet_key('a', '0123456789112345')
PRAGMA add_parquet_key('a', '0123456789112345')
FROM duckdb_logs()
ATTACH OR REPLACE ':memory:' AS shop
ATTACH OR REPLACE ':memory:' AS memory
ATTACH ':memory:' AS shop
DETACH shop
DETACH DATABASE IF EXISTS shop
DETACH "SHOP"
DETACH memory
DETACH\u200bshop
DETACH\ufeffarch
DETACH arch
ATTACH '{arch}' AS x
ATTACH '{arch}' AS x (READ_ONLY)
ATTACH $${shop}$$ AS x (READ_ONLY 'true')
ATTACH E'{shop}' AS x (READ_ONLY 'true')
ATTACH 'x'
 '/../../shop.db' AS x
ATTACH '{shop}' AS x (TYPE\u200bsqlite)
DROP SCHEMA shop.main
DROP TABLE shop.goods
DELETE FROM shop.goods
INSERT INTO shop.goods VALUES (2)
CREATE TABLE shop.mine (i INT)
CALL sqlite_attach('{shop}')
SELECT * FROM sqlite_scan('{shop}', 'goods')
SELECT * FROM sqlite_scan ('{shop}', 'goods')
SELECT * FROM sqlite_scan/* */('{shop}', 'goods')
SELECT * FROM sqlite_scan -- ( comment
 ('{shop}', 'goods')
SELECT * FROM SQLITE_SCAN('{shop}', 'goods')
SELECT * FROM "sqlite_scan"('{shop}', 'goods')
SELECT * FROM "sqlite_scan" /* */ ('{shop}', 'goods')
SELECT * FROM system.main.sqlite_scan('{shop}', 'goods')
SELECT * FROM t, sqlite_scan('{shop}', 'goods')
SELECT * FROM (FROM sqlite_scan('{shop}', 'goods'))
SELECT * FROM sqlite_scan\u00a0('{shop}', 'goods')
SELECT * FROM sqlite_scan\u200b('{shop}', 'goods')
SELECT * FROM sqlite_scan\u2060('{shop}', 'goods')
SELECT * FROM sqlite_scan\ufeff('{shop}', 'goods')
SELECT * FROM\u200bsqlite_scan('{shop}', 'goods')
SELECT * FROM "sqlite_scan"\u200b('{shop}', 'goods')
SELECT 'a\u200b'\u200bFROM\u200bsqlite_scan('{shop}', 'goods')
SELECT 1\u200b;\u200bFROM sqlite_scan\u200b('{shop}', 'goods')
SELECT $a\u200b$ FROM sqlite_scan('{shop}', 'goods') $a\u200b$
EXPLAIN ANALYZE FROM sqlite_scan('{shop}', 'goods')
FROM arrow_scan\u200b(1, 2, 3)
SELECT * FROM sqlite_query('shop', 'SELECT 1')
CREATE VIEW x AS FROM sqlite_scan('{shop}', 'goods')
CREATE MACRO x() AS TABLE FROM sqlite_scan('{shop}', 'goods')
PREPARE x AS FROM sqlite_scan('{shop}', 'goods')
INSERT INTO t FROM sqlite_scan('{shop}', 'goods')
SELECT 1; SELECT * FROM sqlite_scan('{shop}', 'goods')
SELECT * FROM query('FROM sqlite_' || 'scan(''{shop}'', ''goods'')')
FROM system.main.query('SELECT 1')
FROM "query"('SELECT 1')
SELECT * FROM t JOIN query('SELECT 1') AS x ON true
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
PRAGMA json_execute_serialized_sql('[]')
SELECT * FROM postgres_scan('host=127.0.0.1 port=1', 'public', 't')
SELECT * FROM postgres_scan_pushdown('host=127.0.0.1 port=1', 'public', 't')
SELECT * FROM postgres_query('shop', 'SELECT 1')
CALL postgres_execute('shop', 'SELECT 1')
CALL postgres_attach('host=127.0.0.1 port=1')
SELECT * FROM mysql_query('shop', 'SELECT 1')
CALL mysql_execute('shop', 'SELECT 1')
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM pandas_scan(1)
"""

SETTINGS = """
SET memory_limit = '100GB'
SET max_memory = '100GB'
RESET memory_limit
PRAGMA memory_limit = '100GB'
SET threads = 64
SET GLOBAL threads = 64
SET worker_threads = 64
RESET threads
PRAGMA threads = 64
SET temp_directory = '/tmp'
SET max_temp_directory_size = '1TB'
SET enable_external_access = true
RESET enable_external_access
SET lock_configuration = false
RESET lock_configuration
SET allowed_configs = ['{files}/threads']
SET allowed_directories = ['/']
SET allowed_paths = ['/etc/passwd']
SET disabled_filesystems = 'LocalFileSystem'
SET home_directory = '/'
SET file_search_path = '/etc'
SET secret_directory = '/tmp'
SET default_secret_storage = 'local_file'
SET allow_persistent_secrets = true
SET allow_unredacted_secrets = true
SET extension_directory = '/tmp'
SET custom_extension_repository = 'http://127.0.0.1:1'
SET autoinstall_extension_repository = 'http://127.0.0.1:1'
SET autoinstall_known_extensions = true
SET autoload_known_extensions = true
SET allow_community_extensions = true
SET allow_unsigned_extensions = true
SET python_enable_replacements = true
SET python_scan_all_frames = true
SET enable_profiling = 'json'
SET profiling_output = '/tmp/owned.json'
PRAGMA profiling_output = '/tmp/owned.json'
PRAGMA enable_profiling
SET log_query_path = '/tmp/owned.log'
SET enable_logging = true
SET logging_storage = 'file'
CALL enable_logging()
CALL enable_logging('QueryLog')
CALL enable_logging(storage = 'file', storage_path = '/tmp/owned')
SELECT * FROM enable_logging('QueryLog')
CALL enable_profiling()
CALL enable_profiling(format := 'json', save_location := '/tmp/owned.json')
FROM enable_profiling(format := 'json', save_location := '/tmp/owned.json')
CALL disable_profiling()
EXPLAIN ANALYZE PRAGMA enable_verification
EXPLAIN PRAGMA enable_profiling
EXPLAIN ANALYZE SET threads = 64
EXPLAIN ANALYZE RESET threads
EXPLAIN ANALYZE CALL enable_logging()
CALL disable_logging()
CALL truncate_duckdb_logs()
SET http_proxy = 'http://127.0.0.1:1'
SET custom_user_agent = 'x'
SET debug_force_external = true
SET arrow_large_buffer_size = true
PRAGMA enable_verification
PRAGMA verify_external
PRAGMA disable_optimizer
PRAGMA enable_object_cache
"""

OUTSIDE_WORLD = """
INSTALL httpfs
INSTALL httpfs FROM community
INSTALL 'http://127.0.0.1:1/x.duckdb_extension'
FORCE INSTALL httpfs
LOAD httpfs
LOAD sqlite
LOAD '{outside}'
EXPLAIN LOAD sqlite
EXPLAIN ANALYZE INSTALL httpfs
EXPLAIN ANALYZE UPDATE EXTENSIONS
UPDATE EXTENSIONS
SELECT * FROM 'http://127.0.0.1:1/x.parquet'
SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')
SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')
SELECT * FROM read_parquet('s3://bucket/x.parquet')
SELECT * FROM read_text('http://169.254.169.254/latest/meta-data/')
COPY (SELECT 1) TO 's3://bucket/x.csv'
CREATE SECRET x (TYPE s3, KEY_ID 'a', SECRET 'b')
CREATE OR REPLACE SECRET x (TYPE postgres, HOST '127.0.0.1')
CREATE PERSISTENT SECRET x (TYPE s3)
CREATE TEMPORARY SECRET x (TYPE http)
DROP SECRET x
DROP PERSISTENT SECRET IF EXISTS x
"""

# What the layer of SQL refuses to begin with, where there is one. {secret} is a file of others;
# something listens at {port}.
WALLS = """
SELECT * FROM read_text('{secret}')
SELECT * FROM read_text('/proc/self/environ')
SELECT * FROM read_text('/proc/self/maps')
SELECT * FROM read_blob('/proc/1/environ')
SELECT * FROM glob('{secret}')
INSTALL sqlite; LOAD sqlite; SELECT * FROM sqlite_scan('{secret}', 't')
ATTACH '{shop}' AS x1 (TYPE sqlite); INSERT INTO x1.goods VALUES (2)
ATTACH '{arch}' AS x2; INSERT INTO x2.goods VALUES (2)
COPY (SELECT 1) TO '{arch}' (FORMAT csv)
COPY (SELECT 1) TO '{arch}' (FORMAT csv, USE_TMP_FILE false)
COPY (SELECT 1) TO '{arch}.wal' (FORMAT csv)
COPY (SELECT 1) TO '{shop}' (FORMAT csv, USE_TMP_FILE false)
COPY (SELECT 1) TO '{shop}-journal' (FORMAT csv)
COPY (SELECT 1) TO '{secret}' (FORMAT csv)
COPY (SELECT 1) TO '{files}/../../owned.csv'
COPY (SELECT 1) TO '/proc/self/mem' (FORMAT csv, USE_TMP_FILE false)
COPY (SELECT 1) TO '/proc/self/oom_score_adj' (FORMAT csv, USE_TMP_FILE false)
SELECT * FROM postgres_scan('host=127.0.0.1 port={port} connect_timeout=2', 'public', 't')
ATTACH 'host=127.0.0.1 port={port} connect_timeout=2' AS x3 (TYPE postgres)
ATTACH 'host=/tmp port={port} connect_timeout=2' AS x4 (TYPE postgres)
CALL enable_logging(storage = 'file', storage_path = '/tmp/owned')
EXPORT DATABASE '/tmp/owned'
COPY (SELECT 1) TO '{files}/d' (FORMAT csv, PER_THREAD_OUTPUT, FILENAME_PATTERN '../../../owned')
COPY (SELECT 1) TO '{files}/e' (FORMAT csv, PER_THREAD_OUTPUT, FILE_EXTENSION '/../../../owned')
COPY (SELECT 1 AS a, 2 AS b) TO '{files}/f' (PARTITION_BY a, FILENAME_PATTERN '../../../../arch')
COPY (SELECT '\xff'::BLOB AS b) TO '{arch}.wal' (FORMAT blob)
COPY (SELECT '\xff'::BLOB AS b) TO '{shop}-wal' (FORMAT blob, USE_TMP_FILE false)
COPY (SELECT 1) TO '{files}/evil.db' (FORMAT csv, QUOTE '', HEADER false); ATTACH '{files}/evil.db'
CREATE MACRO there(f) AS TABLE FROM read_text(f); FROM there('{secret}')
ATTACH '{secret}' AS x6 (TYPE sqlite); FROM x6.t
SET home_directory = '/'; ATTACH '~{shop}' AS x7 (TYPE sqlite); DELETE FROM x7.goods
ALTER DATABASE shop SET ALIAS TO x8; ATTACH '{shop}' AS shop (TYPE sqlite); DROP TABLE shop.goods
"""

FREE = """
SELECT 1
CREATE TABLE mine (i INT)
CREATE TEMP TABLE mine (i INT)
CREATE TABLE import (load INT, attach INT)
CREATE TABLE query (query INT)
CREATE TABLE main.query (query INT); INSERT INTO main.query (query) VALUES (1)
CREATE INDEX idx ON t (i)
WITH query (n) AS (SELECT 1) SELECT n FROM query
SELECT 'postgres_scan(' AS "sqlite_scan(", 1 AS query
CREATE SCHEMA s
CREATE VIEW v AS SELECT * FROM t
CREATE MACRO twice(x) AS x * 2
CREATE TYPE mood AS ENUM ('a')
CREATE SEQUENCE seq
USE memory.main
SET search_path = 'main'
SET schema = 'main'
SET TimeZone = 'Europe/Berlin'
RESET TimeZone
SET VARIABLE x = 1
SET default_order = 'desc'
SET default_null_order = 'nulls_first'
SET integer_division = true
SET preserve_insertion_order = false
SET statement_timeout = '10s'
BEGIN; ROLLBACK
SELECT * FROM shop.goods
SELECT * FROM arch.goods
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_secrets()
SELECT * FROM information_schema.tables
PRAGMA table_info('t')
PRAGMA database_size
SHOW ALL TABLES
DESCRIBE t
SUMMARIZE t
PIVOT (SELECT 1 AS i, 'a' AS s) ON s USING sum(i)
EXPLAIN ANALYZE SELECT * FROM t
CHECKPOINT
VACUUM
ANALYZE
PREPARE p AS SELECT 1; EXECUTE p
PREPARE p AS INSERT INTO t VALUES (1); EXECUTE p; EXPLAIN ANALYZE EXECUTE p
PREPARE p AS COPY t TO '{files}/p.csv'; EXECUTE p
EXPLAIN SELECT 1
EXPLAIN (SELECT 1)
EXPLAIN (SELECT 1) UNION (SELECT 2)
EXPLAIN (FORMAT json) SELECT 1
EXPLAIN (ANALYZE, FORMAT json) (SELECT 1)
EXPLAIN ANALYZE PIVOT (SELECT 1 AS i, 'a' AS s) ON s IN ('a') USING sum(i)
EXPLAIN ANALYZE INSERT INTO t VALUES (1)
EXPLAIN ANALYZE COPY t TO '{files}/t.csv'
EXPLAIN CREATE TABLE x AS SELECT 1 AS i
SELECT\u200b1\u00a0AS\ufeffn
SELECT 'a\u00a0b\u200bc'
ATTACH ':memory:' AS other; CREATE TABLE other.x (i INT); USE memory; DETACH other
ATTACH '{files}/mine.db' AS mine; CREATE TABLE mine.x AS SELECT 1 AS i; DETACH mine
COPY (SELECT 1 AS i) TO '{files}/mine.csv'; SELECT * FROM read_csv('{files}/mine.csv')
COPY (SELECT 1 AS i) TO '{files}/mine.parquet'; SELECT * FROM '{files}/mine.parquet'
COPY t FROM '{files}/mine.csv'
EXPORT DATABASE '{files}/exported'
COPY t (i) TO '{files}/t.csv' (HEADER false)
COPY t TO '{files}/t.2024.tsv' (DELIMITER '\t')
COPY t TO '{files}/t.blob' (FORMAT csv)
COPY (SELECT format('{{}}', i) AS format FROM t) TO '{files}/t.csv' (FORMAT 'CSV')
COPY t TO '{files}/t.json' (FORMAT JSON)
COPY (SELECT 'to' AS "to" FROM t) TO '{files}/t.csv'
COPY t TO '{files}/t.csv' WITH CSV HEADER DELIMITER '|' QUOTE '"' NULL ''
COPY t TO '{files}/t.csv' WITH (FORMAT csv, HEADER, FORCE_QUOTE (i), DELIM '|')
COPY t TO '{files}/t.parquet' (FORMAT parquet, CODEC zstd, ROW_GROUP_SIZE 1000, COMPRESSION_LEVEL 3)
COPY (SELECT 1 AS a, 2 AS b) TO '{files}/parts' (FORMAT csv, PARTITION_BY (a), OVERWRITE_OR_IGNORE)
COPY (SELECT 1 AS a, 2 AS b) TO '{files}/threads' (PER_THREAD_OUTPUT)
COPY t TO '{files}/My Notes.CSV'
ATTACH '{files}/Mine.db' AS m (BLOCK_SIZE 16384); DETACH m; ATTACH IF NOT EXISTS '{files}/Mine.db'
ATTACH DATABASE '{files}/own-2.duckdb' AS "Own"; DETACH "Own"
ALTER TABLE t ADD COLUMN j INT; ALTER TABLE t RENAME TO u
COMMENT ON TABLE t IS 'mine'
COMMENT ON COLUMN t.i IS 'mine'
CREATE OR REPLACE TEMP MACRO own(x) AS TABLE SELECT x; DROP MACRO TABLE own
CREATE UNIQUE INDEX u ON t (i); DROP INDEX u
PREPARE p AS SELECT 1; DEALLOCATE p
CREATE SEQUENCE q; SELECT nextval('q')
SELECT * FROM glob('{files}/*')
SELECT * FROM query_table('t')
COPY FROM DATABASE shop TO memory
"""


def lines(text: str) -> list[str]:
    """The statements of a text."""
    return re.split(r"\n(?! )", text.strip())
