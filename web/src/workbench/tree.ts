// The user's databases as a tree: arrow keys walk it, Enter puts a name into the editor.

import { h, icon } from "../lib/dom";
import { count } from "../lib/format";
import { quote } from "../lib/names";
import { rows } from "./query";
import type { Session } from "./session";

export interface TableEntry {
  database: string;
  schema: string;
  name: string;
  kind: "table" | "view";
  rows: number | null;
  columns: { name: string; type: string }[];
}

interface ColumnRow {
  d: string;
  s: string;
  t: string;
  c: string;
  y: string;
}
interface TableRow {
  d: string;
  s: string;
  t: string;
  k: "table" | "view";
  n: number | null;
}

const TABLES = `
SELECT database_name AS d, schema_name AS s, table_name AS t, 'table' AS k, estimated_size::DOUBLE AS n
FROM duckdb_tables() WHERE NOT internal
UNION ALL
SELECT database_name, schema_name, view_name, 'view', NULL FROM duckdb_views() WHERE NOT internal
ORDER BY ALL LIMIT 20000`;
const COLUMNS = `
SELECT database_name AS d, schema_name AS s, table_name AS t, column_name AS c, data_type AS y
FROM duckdb_columns() WHERE NOT internal ORDER BY d, s, t, column_index LIMIT 200000`;
const DATABASES = `
SELECT database_name AS d FROM duckdb_databases() WHERE NOT internal ORDER BY d`;

export interface Catalog {
  databases: string[];
  tables: TableEntry[];
}

export async function load(session: Session): Promise<Catalog> {
  const [databases, tables, columns] = await Promise.all([
    rows<{ d: string }>(session, DATABASES),
    rows<TableRow>(session, TABLES),
    rows<ColumnRow>(session, COLUMNS),
  ]);
  const found = new Map<string, TableEntry>();
  const key = (r: { d: string; s: string; t: string }) => JSON.stringify([r.d, r.s, r.t]);
  for (const r of tables) {
    found.set(key(r), { database: r.d, schema: r.s, name: r.t, kind: r.k, rows: r.n, columns: [] });
  }
  for (const r of columns) found.get(key(r))?.columns.push({ name: r.c, type: r.y });
  return { databases: databases.map((r) => r.d), tables: [...found.values()] };
}

/** The name of a table as SQL has it: no longer than it must be. */
export function path(table: TableEntry): string {
  const parts = [table.name];
  if (table.schema !== "main") parts.unshift(table.schema);
  if (table.database !== "memory") parts.unshift(table.database);
  return parts.map(quote).join(".");
}

/** Items of a branch that are drawn at once: a page with ten thousand is slow. */
const DRAWN = 200;

export class Tree {
  readonly element = h("ul", { class: "tree", role: "tree", "aria-label": "Databases" });
  private typed = "";

  constructor(private readonly insert: (text: string) => void, private readonly preview: (sql: string) => void) {
    this.element.addEventListener("keydown", (event) => this.onKey(event));
  }

  show(catalog: Catalog, filter: string): void {
    const wanted = filter.trim().toLowerCase();
    const open = new Set(
      [...this.element.querySelectorAll<HTMLElement>("[aria-expanded=true]")].map((e) => e.dataset.key),
    );
    const items: HTMLElement[] = [];
    for (const database of catalog.databases) {
      const tables = catalog.tables.filter(
        (t) =>
          t.database === database &&
          (wanted === "" ||
            `${t.database}.${t.schema}.${t.name}`.toLowerCase().includes(wanted) ||
            t.columns.some((c) => c.name.toLowerCase().includes(wanted))),
      );
      if (wanted !== "" && tables.length === 0) continue;
      items.push(this.database(database, tables, wanted !== "", open));
    }
    const none = h("li", { class: "tree-empty", role: "none" }, "No matches.");
    this.element.replaceChildren(...(items.length > 0 ? items : [none]));
    const first = this.element.querySelector<HTMLElement>("[role=treeitem]");
    if (first !== null) first.tabIndex = 0;
  }

  private database(name: string, tables: TableEntry[], filtered: boolean, open: Set<string | undefined>): HTMLElement {
    const schemas = new Map<string, TableEntry[]>();
    for (const table of tables) {
      const inside = schemas.get(table.schema);
      if (inside === undefined) schemas.set(table.schema, [table]);
      else inside.push(table);
    }
    const flat = schemas.size === 0 || (schemas.size === 1 && schemas.has("main"));
    const inSchema = ([schema, inside]: [string, TableEntry[]]) =>
      this.branch(`${name}.${schema}`, "folder", schema, count(inside.length), filtered || schemas.size < 4, open, () =>
        some(inside, (t) => this.table(t, open)),
      );
    const make = () => (flat ? some(tables, (t) => this.table(t, open)) : some([...schemas], inSchema));
    const label = name === "memory" ? "yours" : name;
    const hint = name === "memory" && tables.length === 0 ? "empty" : count(tables.length);
    return this.branch(name, "database", label, hint, filtered || tables.length <= 40, open, make);
  }

  private table(table: TableEntry, open: Set<string | undefined>): HTMLElement {
    const name = path(table);
    const about = table.database === "memory" ? "" : "~"; // elsewhere it is an estimate
    const hint = table.rows === null || table.rows === 0 ? "" : `${about}${count(Math.round(table.rows))}`;
    const item = this.branch(`t:${name}`, table.kind, table.name, hint, false, open, () =>
      some(table.columns, (column) => {
        const leaf = h(
          "li",
          { role: "treeitem", tabindex: -1, class: "tree-item leaf", "data-insert": quote(column.name) },
          h("div", { class: "tree-row" }, h("span", { class: "tree-name" }, column.name), h("span", { class: "tree-hint" }, column.type.toLowerCase())),
        );
        leaf.addEventListener("dblclick", (event) => {
          event.stopPropagation();
          this.insert(quote(column.name));
        });
        return leaf;
      }),
    );
    item.dataset.insert = name;
    const look = h(
      "button",
      {
        class: "tree-action",
        tabindex: -1,
        "aria-label": `Show rows of ${table.name}`,
        title: "Show the first rows (Shift + Enter)",
        onclick: (event: Event) => {
          event.stopPropagation();
          this.preview(`SELECT * FROM ${name} LIMIT 1000`);
        },
      },
      icon("play"),
    );
    item.querySelector(".tree-row")?.append(look);
    return item;
  }

  private branch(
    key: string,
    kind: string,
    label: string,
    hint: string,
    expanded: boolean,
    open: Set<string | undefined>,
    children: () => HTMLElement[],
  ): HTMLElement {
    const row = h(
      "div",
      { class: "tree-row" },
      icon("chevron"),
      icon(kind),
      h("span", { class: "tree-name" }, label),
      h("span", { class: "tree-hint" }, hint),
    );
    const item = h("li", { role: "treeitem", tabindex: -1, class: `tree-item ${kind}`, "data-key": key }, row);
    let group: HTMLElement | null = null;
    const set = (value: boolean) => {
      item.setAttribute("aria-expanded", String(value));
      if (value && group === null) {
        group = h("ul", { role: "group" }, ...children());
        item.append(group);
      }
      if (group !== null) group.hidden = !value;
    };
    set(expanded || open.has(key));
    row.addEventListener("click", () => set(item.getAttribute("aria-expanded") !== "true"));
    item.addEventListener("toggle", () => set(item.getAttribute("aria-expanded") !== "true"));
    return item;
  }

  private onKey(event: KeyboardEvent): void {
    const item = (event.target as HTMLElement).closest<HTMLElement>("[role=treeitem]");
    if (item === null || event.target !== item) return;
    const seen = [...this.element.querySelectorAll<HTMLElement>("[role=treeitem]")].filter(
      (e) => e.offsetParent !== null,
    );
    const at = seen.indexOf(item);
    const expanded = item.getAttribute("aria-expanded");
    let next: HTMLElement | undefined;
    switch (event.key) {
      case "ArrowDown": next = seen[at + 1]; break;
      case "ArrowUp": next = seen[at - 1]; break;
      case "Home": next = seen[0]; break;
      case "End": next = seen.at(-1); break;
      case "ArrowRight":
        if (expanded === "false") item.dispatchEvent(new Event("toggle"));
        else if (expanded === "true") next = seen[at + 1];
        break;
      case "ArrowLeft":
        if (expanded === "true") item.dispatchEvent(new Event("toggle"));
        else next = item.parentElement?.closest<HTMLElement>("[role=treeitem]") ?? undefined;
        break;
      case " ": if (expanded !== null) item.dispatchEvent(new Event("toggle")); break;
      case "Enter":
        if (event.ctrlKey || event.metaKey) return; // runs what is in the editor
        if (event.shiftKey) item.querySelector<HTMLElement>(":scope > .tree-row > .tree-action")?.click();
        else if (item.dataset.insert !== undefined) this.insert(item.dataset.insert);
        else item.dispatchEvent(new Event("toggle"));
        break;
      default: {
        if (event.key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey) return;
        this.typed = event.key.toLowerCase();
        next = [...seen.slice(at + 1), ...seen].find((e) =>
          e.querySelector(".tree-name")?.textContent?.toLowerCase().startsWith(this.typed),
        );
      }
    }
    event.preventDefault();
    if (next !== undefined) {
      for (const e of seen) e.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }
}

/** The first of them, and an item that draws more. */
function some<T>(items: T[], draw: (item: T) => HTMLElement, from = 0): HTMLElement[] {
  const drawn = items.slice(from, from + DRAWN).map(draw);
  const left = items.length - from - DRAWN;
  if (left <= 0) return drawn;
  const more = h(
    "li",
    { role: "treeitem", tabindex: -1, class: "tree-item more" },
    h("div", { class: "tree-row" }, h("span", { class: "tree-name" }, `${count(left)} more`), h("span", { class: "tree-hint" }, "show")),
  );
  const show = () => {
    const next = some(items, draw, from + DRAWN);
    const focused = document.activeElement === more;
    more.replaceWith(...next);
    if (focused) focus(next[0]);
  };
  more.addEventListener("click", show);
  more.addEventListener("toggle", show);
  return [...drawn, more];
}

function focus(item: HTMLElement | undefined): void {
  if (item === undefined) return;
  item.tabIndex = 0;
  item.focus();
}
