// How other programs connect: snippets to copy.

import { h, toast } from "../lib/dom";
import type { Session } from "./session";

export interface Address {
  host: string;
  port: number;
  tls: boolean;
}

type Snippet = (a: Address, token: string) => string;
const grpc = (a: Address) => `${a.tls ? "grpc+tls" : "grpc"}://${a.host}:${a.port}`;

const SNIPPETS: Record<string, Snippet> = {
  ADBC: (a, token) => `# pip install adbc-driver-flightsql pyarrow
from adbc_driver_flightsql import DatabaseOptions, dbapi

options = {
    DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer ${token}",
    DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(2**31 - 1),  # chunks above 16 MiB, both ways
}
with dbapi.connect("${grpc(a)}", db_kwargs=options) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 42 AS answer")
        print(cursor.fetch_arrow_table())`,
  JDBC: (a, token) => `// org.apache.arrow:flight-sql-jdbc-driver
String url = "jdbc:arrow-flight-sql://${a.host}:${a.port}/?useEncryption=${a.tls}&token=${token}";
try (Connection connection = DriverManager.getConnection(url);
     ResultSet rows = connection.createStatement().executeQuery("SELECT 42 AS answer")) {
    while (rows.next()) System.out.println(rows.getInt(1));
}`,
  pyarrow: (a, token) => `# pip install pyarrow
from pyarrow import flight

client = flight.connect("${grpc(a)}")
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer ${token}")])
info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 42 AS answer"), options)
print(client.do_get(info.endpoints[0].ticket, options).read_all())`,
  polars: (a, token) => `# pip install polars adbc-driver-flightsql pyarrow
import polars
from adbc_driver_flightsql import DatabaseOptions, dbapi

options = {
    DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer ${token}",
    DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(2**31 - 1),  # chunks above 16 MiB, both ways
}
with dbapi.connect("${grpc(a)}", db_kwargs=options) as connection:
    print(polars.read_database("SELECT 42 AS answer", connection))`,
  DBeaver: (a, token) => `Database > Driver Manager > New
  Class name    org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver
  URL template  jdbc:arrow-flight-sql://{host}:{port}
  Library       org.apache.arrow:flight-sql-jdbc-driver:RELEASE

New connection
  Host ${a.host}    Port ${a.port}
  Driver properties
    useEncryption  ${a.tls}
    token          ${token}`,
  curl: (_, token) => `curl --fail-with-body "${location.origin}/query" \\
  -H "Authorization: Bearer ${token}" \\
  -H "Accept: text/csv" \\
  --data-binary "SELECT 42 AS answer"`,
};

export function showConnect(session: Session, address: Address): void {
  let chosen = "ADBC";
  const code = h("pre", { class: "snippet", tabindex: 0, id: "snippet", "aria-label": "Snippet" });
  const withToken = h("input", { type: "checkbox", id: "with-token" });
  const text = () => SNIPPETS[chosen]?.(address, withToken.checked ? session.token : "YOUR_TOKEN") ?? "";
  const tabs = Object.keys(SNIPPETS).map((name) =>
    h("button", { type: "button", role: "tab", class: "tab", "aria-controls": "snippet", "data-name": name }, name),
  );
  const draw = () => {
    for (const tab of tabs) {
      const selected = tab.dataset.name === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
    }
    code.textContent = text();
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => {
      chosen = tab.dataset.name ?? chosen;
      draw();
    });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      next?.click();
      next?.focus();
    });
  });
  withToken.addEventListener("change", draw);
  const copy = async () => {
    await navigator.clipboard.writeText(text());
    toast(`${chosen} snippet copied`);
  };
  const dialog = h(
    "dialog",
    { class: "dialog wide", "aria-labelledby": "connect-title" },
    h("h2", { id: "connect-title" }, "Connect from another program"),
    h("p", { class: "muted" }, "Programs that connect with your token use the same worker and see the same tables as you do here."),
    h("div", { class: "tabs", role: "tablist", "aria-label": "Client" }, ...tabs),
    code,
    h(
      "form",
      { method: "dialog", class: "dialog-actions" },
      h("label", { class: "check grow" }, withToken, "Include my token"),
      h("button", { type: "button", class: "button", id: "copy-snippet", onclick: () => void copy() }, "Copy"),
      h("button", { class: "button primary" }, "Close"),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  draw();
  document.body.append(dialog);
  dialog.showModal();
}
