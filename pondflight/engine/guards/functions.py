"""The functions that user SQL may call, by name: what is not here is refused.

Of DuckDB's own and of its extensions' functions; users' own macros are checked when they are made,
so what they call is here, too. A new version of DuckDB may bring functions that are not here yet:
they are refused until somebody has read what they do. Left out on purpose are those that

- open a file or a connection without asking DuckDB whether they may (``sqlite_scan`` …);
- run text that is put together when the statement runs, so that nobody has checked it (``query``);
- follow addresses in the process's memory (``arrow_scan``), or trust what only DuckDB's optimizer
  may give them (``__internal_decompress_string``);
- write where they are told (``enable_logging``), or change what is the server's.
"""

from __future__ import annotations

import re

import duckdb

from pondflight.engine.sql.lexer import Token, name_of, tokenize

VALUES = frozenset(
    """
    abs acos acosh add age aggregate ago alias any_value apply approx_count_distinct
    approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_max_nulls_last arg_min
    arg_min_null arg_min_nulls_last argmax argmin array_agg array_aggr array_aggregate
    array_append array_apply array_cat array_concat array_contains array_cosine_distance
    array_cosine_similarity array_cross_product array_distance array_distinct array_dot_product
    array_extract array_filter array_grade_up array_has array_has_all array_has_any
    array_indexof array_inner_product array_intersect array_length array_negative_dot_product
    array_negative_inner_product array_pop_back array_pop_front array_position array_prepend
    array_push_back array_push_front array_reduce array_resize array_reverse array_reverse_sort
    array_select array_slice array_sort array_to_json array_to_string
    array_to_string_comma_default array_transform array_unique array_value array_where
    array_zip ascii asin asinh atan atan2 atanh avg bar base64 bin bit_and bit_count bit_length
    bit_or bit_position bit_xor bitstring bitstring_agg bool_and bool_or can_cast_implicitly
    cardinality cast_to_type cbrt ceil ceiling century char_length character_length chr
    col_description combine concat concat_ws constant_or_null contains corr cos cosh cot count
    count_if count_star countif covar_pop covar_samp create_sort_key cume_dist current_catalog
    current_connection_id current_database current_date current_localtime
    current_localtimestamp current_query current_query_id current_role current_schema
    current_schemas current_setting current_transaction_id current_user currval
    damerau_levenshtein date_add date_diff date_part date_sub date_trunc datediff datepart
    datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade decode
    degrees dense_rank divide editdist3 element_at encode ends_with entropy enum_code
    enum_first enum_last enum_range enum_range_boundary epoch epoch_ms epoch_ns epoch_us
    equi_width_bins era error even exp factorial favg fdiv fill filter finalize first
    first_value flatten floor fmod format format_bytes format_pg_type format_type
    formatReadableDecimalSize formatReadableSize from_base64 from_binary from_hex from_json
    from_json_strict fsum gamma gcd gen_random_uuid generate_subscripts geomean geometric_mean
    get_bit get_block_size get_current_time get_current_timestamp get_type getvariable grade_up
    greatest greatest_common_divisor group_concat hamming has_any_column_privilege
    has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
    has_function_privilege has_language_privilege has_schema_privilege has_sequence_privilege
    has_server_privilege has_table_privilege has_tablespace_privilege hash hex histogram_exact
    hour icu_sort_key ilike_escape in_search_path inet_client_addr inet_client_port
    inet_server_addr inet_server_port instr is_histogram_other_bin isfinite isinf isnan isodow
    isoyear jaccard jaro_similarity jaro_winkler_similarity json json_array json_array_length
    json_contains json_deserialize_sql json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_group_array json_group_object
    json_group_structure json_keys json_merge_patch json_object json_pretty json_quote
    json_serialize_plan json_serialize_sql json_structure json_transform json_transform_strict
    json_type json_valid json_value julian kahan_sum kurtosis kurtosis_pop lag last last_day
    last_value lcase lcm lead least least_common_multiple left left_grapheme len length
    length_grapheme levenshtein lgamma like_escape list list_aggr list_aggregate list_any_value
    list_append list_apply list_approx_count_distinct list_avg list_bit_and list_bit_or
    list_bit_xor list_bool_and list_bool_or list_cat list_concat list_contains
    list_cosine_distance list_cosine_similarity list_count list_distance list_distinct
    list_dot_product list_element list_entropy list_extract list_filter list_first
    list_grade_up list_has list_has_all list_has_any list_histogram list_indexof
    list_inner_product list_intersect list_kurtosis list_kurtosis_pop list_last list_mad
    list_max list_median list_min list_mode list_negative_dot_product
    list_negative_inner_product list_pack list_position list_prepend list_product list_reduce
    list_resize list_reverse list_reverse_sort list_select list_sem list_skewness list_slice
    list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform
    list_unique list_value list_var_pop list_var_samp list_where list_zip listagg ln log log10
    log2 lower lpad ltrim mad make_date make_time make_timestamp make_timestamp_ms
    make_timestamp_ns make_timestamptz make_type map map_concat map_contains map_contains_entry
    map_contains_value map_entries map_extract map_extract_value map_from_entries map_keys
    map_to_pg_oid map_values max max_by md5 md5_number md5_number_lower md5_number_upper mean
    median microsecond millennium millisecond min min_by minute mismatches mod mode month
    monthname multiply nanosecond nextafter nfc_normalize normalized_interval not_ilike_escape
    not_like_escape now nth_value ntile nullif obj_description octet_length ord parse_dirname
    parse_dirpath parse_duckdb_log_message parse_filename parse_formatted_bytes parse_path
    percent_rank pg_collation_is_visible pg_conf_load_time pg_conversion_is_visible
    pg_function_is_visible pg_get_constraintdef pg_get_expr pg_get_viewdef pg_has_role
    pg_is_other_temp_schema pg_my_temp_schema pg_opclass_is_visible pg_operator_is_visible
    pg_opfamily_is_visible pg_postmaster_start_time pg_size_pretty pg_table_is_visible
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
    pg_ts_template_is_visible pg_type_is_visible pg_typeof pi position pow power prefix printf
    product quantile quantile_cont quantile_disc quarter radians random rank rank_dense reduce
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regr_avgx regr_avgy regr_count
    regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy remap_struct replace
    replace_type reservoir_quantile reverse right right_grapheme round round_even roundbankers
    row row_number row_to_json rpad rtrim second sem session_user set_bit sha1 sha256
    shobj_description sign signbit sin sinh skewness split split_part sqrt st_asbinary
    st_astext st_aswkb st_aswkt st_crs st_geomfromwkb st_intersects_extent st_setcrs
    starts_with stats stddev stddev_pop stddev_samp str_split str_split_regex strftime
    string_agg string_split string_split_regex string_to_array strip_accents strlen strpos
    strptime struct_concat struct_contains struct_extract struct_extract_at struct_has
    struct_indexof struct_insert struct_keys struct_pack struct_position struct_update
    struct_values substr substring substring_grapheme subtract suffix sum sum_no_overflow
    sumkahan switch tan tanh time_bucket timetz_byte_comparable timezone timezone_hour
    timezone_minute to_base to_base64 to_binary to_centuries to_days to_decades to_hex to_hours
    to_json to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters
    to_seconds to_timestamp to_weeks to_years today transaction_timestamp translate trim trunc
    try_strptime txid_current typeof ucase unbin unhex unicode union_extract union_tag
    union_value unpivot_list upper url_decode url_encode user uuid uuid_extract_timestamp
    uuid_extract_version uuidv4 uuidv7 var_pop var_samp variance variant_bytes_to_variant
    variant_extract variant_normalize variant_to_parquet_variant variant_typeof vector_type
    wavg week weekday weekofyear weighted_avg xor year yearweek
    """.lower().split()
)
"""Scalar functions, aggregates and macros that compute a value and do nothing else."""

TABLES = frozenset(
    """
    collations database_list database_size duckdb_approx_database_count duckdb_columns
    duckdb_connection_count duckdb_constraints duckdb_coordinate_systems duckdb_databases
    duckdb_dependencies duckdb_extensions duckdb_functions duckdb_indexes duckdb_keywords
    duckdb_memory duckdb_optimizers duckdb_prepared_statements duckdb_profiling_settings
    duckdb_schemas duckdb_secret_types duckdb_secrets duckdb_sequences duckdb_settings
    duckdb_table_sample duckdb_tables duckdb_temporary_files duckdb_types duckdb_variables
    duckdb_views extension_versions functions generate_series glob histogram histogram_values
    icu_calendar_names json_each json_tree metadata_info parquet_bloom_probe
    parquet_file_metadata parquet_full_metadata parquet_kv_metadata parquet_metadata
    parquet_scan parquet_schema pg_timezone_names platform pragma_collations
    pragma_database_size pragma_metadata_info pragma_platform pragma_show pragma_storage_info
    pragma_table_info pragma_user_agent pragma_version query_table range read_blob read_csv
    read_csv_auto read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson
    read_ndjson_auto read_ndjson_objects read_parquet read_text repeat repeat_row show
    show_databases show_tables show_tables_expanded sniff_csv storage_info summary table_info
    test_all_types unnest user_agent version
    """.split()  # noqa: SIM905 - a page of names, not three
)
"""Table functions and pragmas that read: files where DuckDB allows it, and metadata."""

OF_EXTENSIONS = frozenset({"postgres_hstore_get", "postgres_hstore_to_json"})
"""Reading functions of extensions. Only extensions in ``extensions.WHEELS`` can be loaded."""

DOING = frozenset(
    {
        "checkpoint",
        "force_checkpoint",
        "mysql_clear_cache",
        "nextval",
        "pg_clear_cache",
        "pg_sleep",
        "setseed",
        "sleep_ms",
    }
)
"""Functions with an effect on the user's own worker: not for calls that may only query."""

COLLATIONS = "icu_collate_"
"""The prefix of a hundred more such functions."""

_DECLARES = frozenset({"exists", "into", "references", "table", "view", "with"})
"""Words before a table's name with columns in parentheses, which is never a call.

AS and ON may precede either: AS the text of a macro, ON the condition of a join.
"""

SCANS = frozenset({"mysql_scan", "postgres_scan", "seq_scan", "sqlite_scan"})
"""Names in a plan for reading a table, which no statement may call."""

QUERYING = VALUES | TABLES | OF_EXTENSIONS
CALLABLE = QUERYING | DOING


def may_call(name: str) -> bool:
    """Return whether users' statements may call the built-in function ``name`` (in lower case)."""
    return name in CALLABLE or _is_common(name)


def may_query(name: str) -> bool:
    """Return whether a call that may only query may call it."""
    return name in QUERYING or _is_common(name)


def _is_common(name: str) -> bool:
    """Return whether it is an operator or a collation."""
    return not re.match(r"\w", name) or name.startswith(COLLATIONS)


def calls(text: str, functions: frozenset[str]) -> frozenset[str]:
    """Return those of ``functions`` that the SQL ``text`` calls; ``text`` is ``lexer.plain``."""
    lowered = text.lower()
    suspects = {name for name in functions if name in lowered}
    if not suspects:
        return frozenset()
    tokens = list(tokenize(text))
    found = (name_of(token) for index, token in enumerate(tokens) if is_call(tokens, index))
    return frozenset(suspects.intersection(found))


def is_call(tokens: list[Token], index: int) -> bool:
    """Return whether the token at ``index`` is the name of a function that is called."""
    if index + 1 == len(tokens) or not tokens[index + 1].text.startswith("("):
        return False
    while index > 1 and tokens[index - 1].text == ".":  # a qualified name
        index -= 2
    return index == 0 or tokens[index - 1].keyword not in _DECLARES


class BuiltIn:
    """The functions of DuckDB and its extensions, in lower case."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self.names: frozenset[str] = frozenset()

    def read(self) -> frozenset[str]:
        """Read them once all extensions are loaded; return those that users must not call.

        Call it while nothing is attached: DuckDB asks every attached database for its own.
        """
        with self._database.cursor() as cursor:
            found = cursor.execute(
                "SELECT DISTINCT function_name, database_name FROM system.main.duckdb_functions()"
            ).fetchall()
        # Users' macros may have the names of operators, so this is not done in SQL.
        self.names = frozenset(name.lower() for name, place in found if place == "system")
        return frozenset(name for name in self.names if not may_call(name))
