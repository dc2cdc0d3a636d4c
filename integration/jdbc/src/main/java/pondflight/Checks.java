package pondflight;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * What the released Flight SQL JDBC driver makes of pondflight.
 *
 * <p>Arguments: port, token, user (the token's sub). Prints a line for each check: its name, then
 * "ok" or what went wrong, in one line.
 */
public final class Checks {
  private final String port;
  private final String token;
  private final String user;
  private final Map<String, Check> checks = new LinkedHashMap<>();

  private interface Check {
    void run() throws Exception;
  }

  private Checks(String port, String token, String user) {
    this.port = port;
    this.token = token;
    this.user = user;
    checks.put("connect_by_token", this::connectByToken);
    checks.put("connect_by_user_and_password", this::connectByUserAndPassword);
    checks.put("connect_with_wrong_password", this::connectWithWrongPassword);
    checks.put("statement_query", this::statementQuery);
    checks.put("statement_update", this::statementUpdate);
    checks.put("statement_execute", this::statementExecute);
    checks.put("statement_returning", this::statementReturning);
    checks.put("prepared_query", this::preparedQuery);
    checks.put("prepared_update", this::preparedUpdate);
    checks.put("prepared_arithmetic", this::preparedArithmetic);
    checks.put("prepared_batch", this::preparedBatch);
    checks.put("types", this::types);
    checks.put("metadata_tables", this::metadataTables);
    checks.put("metadata_columns", this::metadataColumns);
    checks.put("metadata_keys", this::metadataKeys);
    checks.put("metadata_catalogs_and_schemas", this::metadataCatalogsAndSchemas);
    checks.put("metadata_type_info", this::metadataTypeInfo);
    checks.put("metadata_every_property", this::metadataEveryProperty);
    checks.put("metadata_properties_are_true", this::metadataPropertiesAreTrue);
    checks.put("result_set_metadata", this::resultSetMetadata);
    checks.put("set_catalog", this::setCatalog);
    checks.put("catalog_in_url", this::catalogInUrl);
    checks.put("transactions_as_sql", this::transactionsAsSql);
    checks.put("two_connections_with_temp_tables", this::twoConnectionsWithTempTables);
    checks.put("several_statements", this::severalStatements);
    checks.put("cancel", this::cancel);
    checks.put("error_messages", this::errorMessages);
    checks.put("large_result", this::largeResult);
  }

  /** Runs all checks. */
  public static void main(String[] args) {
    new Checks(args[0], args[1], args[2]).run();
  }

  private void run() {
    checks.forEach(
        (name, check) -> {
          String outcome = "ok";
          try {
            check.run();
          } catch (Throwable error) {
            StackTraceElement[] trace = error.getStackTrace();
            String where =
                Arrays.stream(trace)
                    .filter(e -> e.getClassName().startsWith("pondflight"))
                    .findFirst()
                    .map(Object::toString)
                    .orElse("");
            outcome = (error + " at " + where).replaceAll("\\s+", " ");
          }
          System.out.println("check " + name + ": " + outcome);
        });
    System.exit(0);
  }

  // connections

  private Connection open(String more) throws SQLException {
    String url = "jdbc:arrow-flight-sql://127.0.0.1:" + port + "?useEncryption=false" + more;
    return DriverManager.getConnection(url);
  }

  private Connection open() throws SQLException {
    return open("&token=" + token);
  }

  private void connectByToken() throws SQLException {
    try (Connection c = open()) {
      equal(List.of("[42]"), rows(c, "SELECT 42"));
    }
  }

  private void connectByUserAndPassword() throws SQLException {
    for (String name : List.of("token", user)) {
      Properties properties = new Properties();
      properties.put("user", name);
      properties.put("password", token);
      properties.put("useEncryption", "false");
      String url = "jdbc:arrow-flight-sql://127.0.0.1:" + port;
      try (Connection c = DriverManager.getConnection(url, properties)) {
        equal(List.of("[42]"), rows(c, "SELECT 42"));
      }
    }
  }

  private void connectWithWrongPassword() {
    for (String more :
        List.of("&user=token&password=wrong", "&user=somebody&password=" + token, "&token=wrong")) {
      SQLException error =
          fails(
              () -> {
                try (Connection c = open(more)) {
                  rows(c, "SELECT 1");
                }
              });
      contains(error.toString() + error.getCause(), "authentication failed");
    }
  }

  // statements

  private void statementQuery() throws SQLException {
    try (Connection c = open()) {
      equal(List.of("[1, a]", "[null, b]"), rows(c, "VALUES (1, 'a'), (NULL, 'b')"));
      equal(List.of(), rows(c, "SELECT 1 WHERE false"));
      equal(List.of("[1, 2]"), rows(c, "SELECT 1 AS a, 2 AS a"));
    }
  }

  private void statementUpdate() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      equal(0, s.executeUpdate("CREATE OR REPLACE TABLE jdbc_update (i INTEGER, s VARCHAR)"));
      equal(2, s.executeUpdate("INSERT INTO jdbc_update VALUES (1, 'a'), (2, 'b')"));
      equal(1, s.executeUpdate("UPDATE jdbc_update SET s = 'z' WHERE i = 1"));
      equal(List.of("[1, z]", "[2, b]"), rows(c, "FROM jdbc_update ORDER BY i"));
      equal(2, s.executeUpdate("DELETE FROM jdbc_update"));
      equal(0, s.executeUpdate("DROP TABLE jdbc_update"));
    }
  }

  private void statementExecute() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      equal(true, s.execute("SELECT 1"));
      equal(false, s.execute("CREATE OR REPLACE TABLE jdbc_execute (i INTEGER)"));
      equal(false, s.execute("INSERT INTO jdbc_execute VALUES (1), (2), (3)"));
      equal(3, s.getUpdateCount());
      equal(List.of("[3]"), rows(c, "SELECT count(*) FROM jdbc_execute"));
    }
  }

  private void statementReturning() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute("CREATE OR REPLACE TABLE jdbc_returning (i INTEGER, s VARCHAR)");
      String insert = "INSERT INTO jdbc_returning VALUES (7, 'x') RETURNING i + 1 AS n, s";
      equal(List.of("[8, x]"), rows(c, insert));
      equal(List.of("[1]"), rows(c, "SELECT count(*) FROM jdbc_returning"));
    }
  }

  private void preparedQuery() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute(
          "CREATE OR REPLACE TABLE jdbc_query AS SELECT range::INTEGER AS i, 'row ' || range AS s"
              + " FROM range(100)");
      try (PreparedStatement p =
          c.prepareStatement("SELECT s FROM jdbc_query WHERE i = ? OR s = ? ORDER BY i")) {
        equal(2, p.getParameterMetaData().getParameterCount());
        for (int i = 5; i < 8; i++) {
          p.setInt(1, i);
          p.setString(2, "row 50");
          try (ResultSet r = p.executeQuery()) {
            equal(List.of("[row " + i + "]", "[row 50]"), rows(r));
          }
        }
      }
      String limited = "SELECT i FROM jdbc_query ORDER BY i LIMIT ?";
      try (PreparedStatement p = c.prepareStatement(limited)) {
        p.setLong(1, 2);
        try (ResultSet r = p.executeQuery()) {
          equal(List.of("[0]", "[1]"), rows(r));
        }
      }
    }
  }

  private void preparedUpdate() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute(
          "CREATE OR REPLACE TABLE jdbc_prepared (b BOOLEAN, i INTEGER, l BIGINT, d DOUBLE,"
              + " n DECIMAL(10,2), t VARCHAR, y BLOB, day DATE, ts TIMESTAMP, at_ TIME, u UUID,"
              + " e ENUM('x', 'y'), j JSON, iv INTERVAL, nothing INTEGER)");
      try (PreparedStatement p =
          c.prepareStatement(
              "INSERT INTO jdbc_prepared VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")) {
        p.setBoolean(1, true);
        p.setInt(2, -5);
        p.setLong(3, Long.MAX_VALUE);
        p.setDouble(4, 2.5);
        p.setBigDecimal(5, new BigDecimal("12345678.90"));
        p.setString(6, "Zoë 🦆");
        p.setBytes(7, new byte[] {0, (byte) 0xFF});
        p.setDate(8, Date.valueOf("2024-02-29"));
        p.setTimestamp(9, Timestamp.valueOf("2024-02-29 12:30:00.123"));
        p.setTime(10, Time.valueOf("12:30:01"));
        p.setString(11, UUID);
        p.setString(12, "y");
        p.setString(13, "{\"a\": 1}");
        p.setString(14, "3 days");
        p.setNull(15, Types.INTEGER);
        equal(1, p.executeUpdate());
      }
      equal(
          List.of(
              "[true, -5, 9223372036854775807, 2.5, 12345678.90, Zoë 🦆, \\x00\\xFF, 2024-02-29,"
                  + " 2024-02-29 12:30:00.123, 12:30:01, 12345678-1234-5678-1234-567812345678, y,"
                  + " {\"a\": 1}, 3 days, null]"),
          rows(
              c,
              "SELECT b, i, l, d, n, t, y::VARCHAR, day, ts, at_::VARCHAR, u, e, j, iv::VARCHAR, nothing"
                  + " FROM jdbc_prepared"));
    }
  }

  private void preparedArithmetic() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute("CREATE OR REPLACE TABLE jdbc_account AS SELECT 1 AS id, 10.50 AS balance");
      String update = "UPDATE jdbc_account SET balance = balance - ? WHERE id = ?";
      try (PreparedStatement p = c.prepareStatement(update)) {
        p.setBigDecimal(1, new BigDecimal("0.50"));
        p.setInt(2, 1);
        equal(1, p.executeUpdate());
      }
      equal(List.of("[10.00]"), rows(c, "SELECT balance FROM jdbc_account"));
    }
  }

  private void preparedBatch() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute("CREATE OR REPLACE TABLE jdbc_batch (i INTEGER, s VARCHAR)");
      try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_batch VALUES (?, ?)")) {
        for (int i = 0; i < 1000; i++) {
          p.setInt(1, i);
          p.setString(2, "row " + i);
          p.addBatch();
        }
        int total = Arrays.stream(p.executeBatch()).sum();
        equal(1000, total);
      }
      equal(
          List.of("[1000, 499500, row 999]"),
          rows(c, "SELECT count(*), sum(i), max_by(s, i) FROM jdbc_batch"));
    }
  }

  private static final String HUGE = "170141183460469231731687303715884105727";
  private static final String NANOS = "2024-02-29 12:30:00.123456789";
  private static final String UUID = "12345678-1234-5678-1234-567812345678";

  private void types() throws SQLException {
    String[][] expected = {
      {"true", "BOOLEAN", "true"},
      {"1::TINYINT", "TINYINT", "1"},
      {"18446744073709551615::UBIGINT", "BIGINT", "18446744073709551615"},
      {HUGE + "::HUGEINT", "DECIMAL", HUGE},
      {HUGE + "::UHUGEINT", "VARCHAR", HUGE},
      {"1.5::DECIMAL(4,1)", "DECIMAL", "1.5"},
      {"2.5::FLOAT", "FLOAT", "2.5"},
      {"2.5::DOUBLE", "DOUBLE", "2.5"},
      {"'x'", "VARCHAR", "x"},
      {"'0101'::BIT", "VARCHAR", "0101"},
      {"DATE '2024-02-29'", "DATE", "2024-02-29"},
      {"TIME '12:30:00.123'", "TIME", "12:30:00.123"},
      {"TIMETZ '12:30:00+02'", "VARCHAR", "12:30:00+02"},
      {"TIMESTAMP '2024-02-29 12:30:00.123456'", "TIMESTAMP", "2024-02-29 12:30:00.123456"},
      {"TIMESTAMP_NS '" + NANOS + "'", "TIMESTAMP", NANOS},
      {"INTERVAL '14 months 2 days 3 hours'", "JAVA_OBJECT", "P14M2DT3H"},
      {"'" + UUID + "'::UUID", "VARCHAR", UUID},
      {"'b'::ENUM('a', 'b')", "VARCHAR", "b"},
      {"[1, NULL]", "ARRAY", "[1,null]"},
      {"{'a': 1, 'b': 'x'}", "JAVA_OBJECT", "{\"a\":1,\"b\":\"x\"}"},
      {"MAP {'k': 1}", "JAVA_OBJECT", "{\"k\":1}"},
      {"union_value(num := 1)", "JAVA_OBJECT", "1"},
      {"'{\"a\": 1}'::JSON", "VARCHAR", "{\"a\": 1}"},
      {"NULL", "INTEGER", "null"},
    };
    try (Connection c = open();
        Statement s = c.createStatement()) {
      for (String[] one : expected) {
        try (ResultSet r = s.executeQuery("SELECT " + one[0] + " AS v")) {
          equal(one[1], r.getMetaData().getColumnTypeName(1));
          equal(true, r.next());
          equal(one[2], String.valueOf(r.getString(1)));
          equal(one[2].equals("null"), r.getObject(1) == null);
        }
      }
      // This driver has no getObject for timestamps with time zone.
      try (ResultSet r = s.executeQuery("SELECT TIMESTAMPTZ '2024-02-29 12:30:00.5+02' AS v")) {
        equal(true, r.next());
        equal(Types.TIMESTAMP_WITH_TIMEZONE, r.getMetaData().getColumnType(1));
        equal(Timestamp.valueOf("2024-02-29 10:30:00.5"), r.getTimestamp(1));
      }
      try (ResultSet r = s.executeQuery("SELECT '\\x00\\xFF'::BLOB AS v")) {
        equal(true, r.next());
        equal("[0, -1]", Arrays.toString(r.getBytes(1)));
      }
    }
  }

  // metadata

  private static final String TABLES =
      "CREATE SCHEMA IF NOT EXISTS jdbc_meta;"
          + "DROP TABLE IF EXISTS jdbc_meta.child;"
          + "CREATE OR REPLACE TABLE jdbc_meta.parent (id INTEGER, code VARCHAR, price DECIMAL(9,3),"
          + " since TIMESTAMPTZ, kind ENUM('a', 'b'), PRIMARY KEY (id));"
          + "COMMENT ON COLUMN jdbc_meta.parent.price IS 'in euros';"
          + "CREATE TABLE jdbc_meta.child (n BIGINT NOT NULL,"
          + " parent INTEGER REFERENCES jdbc_meta.parent (id));"
          + "CREATE OR REPLACE VIEW jdbc_meta.seen AS SELECT id FROM jdbc_meta.parent";

  private DatabaseMetaData metadata(Connection c) throws SQLException {
    try (Statement s = c.createStatement()) {
      s.execute(TABLES);
    }
    return c.getMetaData();
  }

  private void metadataTables() throws SQLException {
    try (Connection c = open()) {
      DatabaseMetaData m = metadata(c);
      String[] columns = {"TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"};
      equal(
          List.of(
              "[memory, jdbc_meta, child, TABLE]",
              "[memory, jdbc_meta, parent, TABLE]",
              "[memory, jdbc_meta, seen, VIEW]"),
          rows(m.getTables(null, "jdbc_meta", "%", null), columns));
      String[] views = {"VIEW"};
      equal(
          List.of("[memory, jdbc_meta, seen, VIEW]"),
          rows(m.getTables("memory", "jdbc\\_m%", "s%", views), columns));
      equal(List.of(), rows(m.getTables("nope", null, "%", null), columns));
    }
  }

  private void metadataColumns() throws SQLException {
    try (Connection c = open()) {
      DatabaseMetaData m = metadata(c);
      equal(
          List.of(
              "[parent, id, 4, INTEGER, 10, 0, 0, null, 1]",
              "[parent, code, 12, VARCHAR, 65536, null, 1, null, 2]",
              "[parent, price, 3, DECIMAL(9,3), 9, 3, 1, in euros, 3]",
              "[parent, since, 2014, TIMESTAMP WITH TIME ZONE, 26, 6, 1, null, 4]",
              "[parent, kind, 12, ENUM('a', 'b'), 65536, null, 1, null, 5]"),
          rows(
              m.getColumns(null, "jdbc_meta", "parent", "%"),
              "TABLE_NAME",
              "COLUMN_NAME",
              "DATA_TYPE",
              "TYPE_NAME",
              "COLUMN_SIZE",
              "DECIMAL_DIGITS",
              "NULLABLE",
              "REMARKS",
              "ORDINAL_POSITION"));
      equal(
          List.of("[child, n, NO]"),
          rows(
              m.getColumns("memory", "jdbc_meta", "%", "n"),
              "TABLE_NAME",
              "COLUMN_NAME",
              "IS_NULLABLE"));
    }
  }

  private void metadataKeys() throws SQLException {
    try (Connection c = open()) {
      DatabaseMetaData m = metadata(c);
      equal(
          List.of("[memory, jdbc_meta, parent, id, 1]"),
          rows(
              m.getPrimaryKeys(null, "jdbc_meta", "parent"),
              "TABLE_CAT",
              "TABLE_SCHEM",
              "TABLE_NAME",
              "COLUMN_NAME",
              "KEY_SEQ"));
      String[] columns = {
        "PKTABLE_SCHEM", "PKTABLE_NAME", "PKCOLUMN_NAME", "FKTABLE_NAME", "FKCOLUMN_NAME",
        "KEY_SEQ", "UPDATE_RULE", "DELETE_RULE"
      };
      List<String> key = List.of("[jdbc_meta, parent, id, child, parent, 1, 3, 3]");
      equal(key, rows(m.getImportedKeys(null, "jdbc_meta", "child"), columns));
      equal(key, rows(m.getExportedKeys("memory", "jdbc_meta", "parent"), columns));
      equal(
          key,
          rows(
              m.getCrossReference(null, "jdbc_meta", "parent", null, "jdbc_meta", "child"),
              columns));
      equal(List.of(), rows(m.getImportedKeys(null, "jdbc_meta", "parent"), columns));
    }
  }

  private void metadataCatalogsAndSchemas() throws SQLException {
    try (Connection c = open()) {
      DatabaseMetaData m = metadata(c);
      contains(rows(m.getCatalogs(), "TABLE_CAT").toString(), "[memory]");
      equal(
          List.of("[memory, jdbc_meta]"),
          rows(m.getSchemas(null, "jdbc%"), "TABLE_CATALOG", "TABLE_SCHEM"));
      contains(rows(m.getSchemas(), "TABLE_SCHEM").toString(), "[main]");
      equal(List.of("[TABLE]", "[VIEW]"), rows(m.getTableTypes(), "TABLE_TYPE"));
    }
  }

  private void metadataTypeInfo() throws SQLException {
    try (Connection c = open();
        ResultSet r = c.getMetaData().getTypeInfo()) {
      rows(r); // this driver does not ask the server; it must not fail either
    }
  }

  /** Each no-argument method of DatabaseMetaData works: no SqlInfo is missing or of a wrong kind. */
  private void metadataEveryProperty() throws Exception {
    try (Connection c = open()) {
      DatabaseMetaData m = c.getMetaData();
      List<String> failures = new ArrayList<>();
      int called = 0;
      for (var method : DatabaseMetaData.class.getMethods()) {
        Class<?> type = method.getReturnType();
        boolean plain = type.isPrimitive() || type == String.class;
        if (method.getParameterCount() == 0 && plain && type != void.class) {
          called++;
          try {
            method.invoke(m);
          } catch (Exception error) {
            failures.add(method.getName() + ": " + error.getCause());
          }
        }
      }
      equal(List.of(), failures);
      equal(true, called > 100);
    }
  }

  private void metadataPropertiesAreTrue() throws SQLException {
    try (Connection c = open()) {
      DatabaseMetaData m = c.getMetaData();
      equal("pondflight", m.getDatabaseProductName());
      equal(true, m.getDatabaseProductVersion().startsWith("duckdb v1."));
      equal("\"", m.getIdentifierQuoteString());
      equal("\\", m.getSearchStringEscape());
      equal(false, m.isReadOnly());
      equal(true, m.supportsTransactions());
      equal(false, m.supportsSavepoints());
      equal(true, m.supportsTransactionIsolationLevel(Connection.TRANSACTION_REPEATABLE_READ));
      equal(false, m.supportsTransactionIsolationLevel(Connection.TRANSACTION_READ_UNCOMMITTED));
      equal(true, m.supportsOuterJoins());
      equal(true, m.supportsFullOuterJoins());
      equal(true, m.supportsGroupBy());
      equal(true, m.supportsUnionAll());
      equal(true, m.supportsCorrelatedSubqueries());
      equal(true, m.supportsSubqueriesInExists());
      equal(true, m.supportsANSI92EntryLevelSQL());
      equal(false, m.supportsANSI92FullSQL());
      equal(true, m.supportsBatchUpdates());
      equal(false, m.supportsStoredProcedures());
      equal(true, m.supportsConvert(Types.INTEGER, Types.VARCHAR));
      equal(false, m.supportsConvert(Types.DATE, Types.INTEGER));
      equal(true, m.supportsResultSetType(ResultSet.TYPE_FORWARD_ONLY));
      equal(false, m.supportsResultSetType(ResultSet.TYPE_SCROLL_INSENSITIVE));
      equal(0, m.getMaxColumnsInTable());
      contains(m.getSQLKeywords(), "QUALIFY");
      contains(m.getStringFunctions(), "SUBSTRING");
    }
  }

  private void resultSetMetadata() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement();
        ResultSet r = s.executeQuery("SELECT 1.5::DECIMAL(9,3) AS price, 'x' AS \"a b\"")) {
      ResultSetMetaData m = r.getMetaData();
      equal(2, m.getColumnCount());
      equal("price", m.getColumnLabel(1));
      equal("a b", m.getColumnName(2));
      equal(9, m.getPrecision(1));
      equal(3, m.getScale(1));
      equal(false, m.isAutoIncrement(1));
      equal(true, m.isSearchable(2));
      equal(true, m.isCaseSensitive(2));
      equal(true, m.isReadOnly(1));
    }
  }

  // sessions

  private void setCatalog() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      s.execute("CREATE OR REPLACE TABLE memory.main.jdbc_here AS SELECT 1 AS i");
      c.setCatalog("memory"); // this driver does not tell the server
      equal("memory", c.getCatalog());
      s.execute("USE memory.main");
      equal(List.of("[1]"), rows(c, "FROM jdbc_here"));
    }
  }

  private void catalogInUrl() throws SQLException {
    Connection c = open("&token=" + token + "&catalog=memory");
    equal(List.of("[memory]"), rows(c, "SELECT current_database()"));
    try {
      c.close();
    } catch (SQLException error) { // this driver closes the session after the channel
      contains(error.toString(), "Channel shutdown");
    }
    String message = fails(() -> open("&token=" + token + "&catalog=nope")).toString();
    contains(message, "Cannot set session option for catalog");
  }

  private void transactionsAsSql() throws SQLException {
    try (Connection c = open();
        Connection other = open();
        Statement s = c.createStatement()) {
      s.execute("CREATE OR REPLACE TABLE jdbc_tx (i INTEGER)");
      for (String end : List.of("ROLLBACK", "COMMIT")) {
        s.execute("BEGIN");
        s.executeUpdate("INSERT INTO jdbc_tx VALUES (1)");
        equal(List.of("[1]"), rows(c, "SELECT count(*) FROM jdbc_tx"));
        equal(List.of("[0]"), rows(other, "SELECT count(*) FROM jdbc_tx"));
        s.execute(end);
      }
      equal(List.of("[1]"), rows(other, "SELECT count(*) FROM jdbc_tx"));
    }
  }

  private void twoConnectionsWithTempTables() throws SQLException {
    try (Connection one = open();
        Connection two = open();
        Statement first = one.createStatement();
        Statement second = two.createStatement()) {
      first.execute("CREATE TEMP TABLE jdbc_temp AS SELECT 1 AS i");
      second.execute("CREATE TEMP TABLE jdbc_temp AS SELECT 2 AS i");
      first.execute("SET VARIABLE who = 'one'");
      equal(List.of("[1, one]"), rows(one, "SELECT i, getvariable('who') FROM jdbc_temp"));
      equal(List.of("[2, null]"), rows(two, "SELECT i, getvariable('who') FROM jdbc_temp"));
    }
  }

  private void severalStatements() throws SQLException {
    try (Connection c = open()) {
      String text =
          "CREATE OR REPLACE TABLE jdbc_several AS SELECT 1 AS i;"
              + "INSERT INTO jdbc_several VALUES (2); SELECT sum(i) AS total FROM jdbc_several";
      equal(List.of("[3]"), rows(c, text));
    }
  }

  private void cancel() throws Exception {
    try (Connection c = open();
        Statement s = c.createStatement()) {
      String endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b";
      CompletableFuture<Throwable> failure =
          CompletableFuture.supplyAsync(
              () -> {
                try (ResultSet r = s.executeQuery(endless)) {
                  r.next();
                  return null;
                } catch (Throwable error) {
                  return error;
                }
              });
      Thread.sleep(1500);
      long started = System.nanoTime();
      s.cancel();
      Throwable error = failure.get(20, TimeUnit.SECONDS);
      equal(true, error != null);
      equal(true, TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - started) < 5);
      equal(List.of("[1]"), rows(c, "SELECT 1"));
    }
  }

  private void errorMessages() throws SQLException {
    try (Connection c = open()) {
      contains(fails(() -> rows(c, "SELEC 1")).getMessage(), "syntax error at or near \"SELEC\"");
      contains(fails(() -> rows(c, "FROM nope")).getMessage(), "nope does not exist");
      contains(fails(() -> rows(c, "SELECT 'x'::INT FROM range(9)")).toString(), "'x' to INT32");
    }
  }

  private void largeResult() throws SQLException {
    try (Connection c = open();
        Statement s = c.createStatement();
        ResultSet r = s.executeQuery("SELECT range AS i, 'row ' || range AS s FROM range(300000)")) {
      long sum = 0;
      while (r.next()) {
        sum += r.getLong(1);
      }
      equal(300000L * 299999L / 2, sum);
    }
  }

  // helpers

  private static List<String> rows(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement();
        ResultSet r = s.executeQuery(sql)) {
      return rows(r);
    }
  }

  /** The rows as text: the named columns, or all. Closes the result set. */
  private static List<String> rows(ResultSet result, String... columns) throws SQLException {
    List<String> found = new ArrayList<>();
    try (ResultSet r = result) {
      while (r.next()) {
        List<Object> row = new ArrayList<>();
        if (columns.length == 0) {
          for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
            row.add(r.getString(i));
          }
        }
        for (String column : columns) {
          row.add(r.getString(column));
        }
        found.add(row.toString());
      }
    }
    return found;
  }

  private static SQLException fails(Check check) {
    try {
      check.run();
    } catch (SQLException error) {
      return error;
    } catch (Exception error) {
      throw new AssertionError("expected an SQLException, got " + error, error);
    }
    throw new AssertionError("expected an SQLException, got none");
  }

  private static void equal(Object expected, Object found) {
    if (!expected.equals(found)) {
      throw new AssertionError("expected " + expected + ", got " + found);
    }
  }

  private static void contains(String text, String part) {
    if (!text.contains(part)) {
      throw new AssertionError("expected '" + part + "' in '" + text + "'");
    }
  }
}
