// What two Flight SQL clients for Node make of pondflight.
//
// Arguments: port, token, client (each registers the same messages, so one process has one). Prints a line for each check: its name, then "ok" or what went wrong.
import assert from "node:assert/strict";

const [port, token, kind] = process.argv.slice(2);
const packages = { firetiger: "@firetiger-oss/flight-sql-client", gizmosql: "@gizmodata/gizmosql-client" };
const { FlightSQLClient } = (await import(packages[kind])).default;
const address = { host: "127.0.0.1", port: Number(port), plaintext: true };

async function rows(client, sql) {
  const found = await client.execute(sql);
  return Array.isArray(found) ? found : found.toArray().map((row) => ({ ...row }));
}

const checks = {
  async query(client) {
    assert.deepEqual(await rows(client, "SELECT 42::INTEGER AS n, 'ü' AS s"), [{ n: 42, s: "ü" }]);
  },
  // grpc-js takes messages of 4 MiB.
  async default_message_limit(client) {
    const found = await rows(client, "SELECT repeat('x', 1000) AS s FROM range(20000)");
    assert.equal(found.length, 20000);
  },
  // Whoever is told that an INSERT failed tries again.
  async insert_runs_once_and_is_no_error(client) {
    await rows(client, "CREATE OR REPLACE TABLE of_node (i INTEGER)");
    await rows(client, "INSERT INTO of_node VALUES (1), (2)");
    assert.deepEqual(await rows(client, "SELECT count(*)::INTEGER AS n FROM of_node"), [{ n: 2 }]);
  },
  async tables(client) {
    await rows(client, "CREATE OR REPLACE TABLE listed (i INTEGER)");
    const found = await client.getTables(undefined, "main", "listed");
    assert.deepEqual(found.map((table) => table.tableName), ["listed"]);
  },
  async error_in_words(client) {
    await assert.rejects(rows(client, "SELECT * FROM nowhere"), /nowhere does not exist/);
  },
};

for (const [name, check] of Object.entries(checks)) {
  const client = new FlightSQLClient({ ...address, username: "token", password: token });
  let outcome = "ok";
  try {
    await check(client);
  } catch (error) {
    outcome = String(error.message ?? error).replaceAll("\n", " ");
  }
  console.log(`check ${kind}_${name}: ${outcome}`);
  await client.close();
}
