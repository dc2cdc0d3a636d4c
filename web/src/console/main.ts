// The page for operators: who has which worker, what runs, and buttons to end it.

import { byId, confirmed, h, icon, toast } from "../lib/dom";
import { bytes, count, duration, plural } from "../lib/format";
import { Problem, call, callJson, postJson } from "../lib/http";
import { themeButton } from "../lib/theme";
import { History, spark } from "./history";
import type { Statement, Status, Worker } from "./status";
import type { Tiles } from "./tiles";

type Which = "all" | "running" | "failed";

const EVERY_MS = 1500;
const STOPPABLE = new Set(["ready", "idle", "busy"]);
let which: Which = "all";
let status: Status | null = null;
let timer = 0;
let tiles: Tiles | null = null;
const histories = new Map<string, { memory: History; cpu: History }>();

function begin(): void {
  themeButton(byId<HTMLButtonElement>("theme"));
  byId("leave").replaceChildren(icon("exit"));
  byId("leave").addEventListener("click", () => void leave());
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    void signIn();
  });
  const options: [Which, string][] = [["all", "All"], ["running", "Running"], ["failed", "Failed"]];
  byId("which").replaceChildren(
    ...options.map(([value, label]) => {
      const button = h("button", { type: "button", class: "segment", "aria-pressed": value === which }, label);
      button.addEventListener("click", () => {
        which = value;
        for (const other of byId("which").children) other.setAttribute("aria-pressed", String(other === button));
        drawStatements();
      });
      return button;
    }),
  );
  byId("filter").addEventListener("input", drawStatements);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && document.body.dataset.view === "work") void refresh();
  });
  void refresh();
}

async function signIn(): Promise<void> {
  const field = byId<HTMLTextAreaElement>("token");
  const token = field.value.trim().replace(/^bearer\s+/i, "");
  if (token === "") {
    byId("welcome-error").textContent = "Paste an administrator's token first.";
    field.focus();
    return;
  }
  try {
    await call("/console/session", postJson({ token }));
    field.value = "";
    await refresh();
  } catch (error) {
    const refused = error instanceof Problem && error.status === 401;
    byId("welcome-error").textContent = refused
      ? "The server rejected this token. It is invalid or has expired."
      : (error as Error).message;
    field.focus();
  }
}

async function leave(): Promise<void> {
  window.clearTimeout(timer);
  await call("/console/session", { method: "DELETE", headers: { "content-type": "application/json" } }).catch(() => undefined);
  location.reload();
}

function welcome(message = ""): void {
  window.clearTimeout(timer);
  document.body.dataset.view = "welcome";
  byId("welcome-error").textContent = message;
  byId("token").focus();
}

async function refresh(): Promise<void> {
  window.clearTimeout(timer);
  try {
    status = await callJson<Status>("/console/status");
    const first = document.body.dataset.view !== "work";
    document.body.dataset.view = "work";
    if (first) tiles = new (await import("./tiles")).Tiles(byId("tiles"));
    byId("pulse").textContent = status.ready ? "live" : "draining";
    byId("pulse").dataset.state = status.ready ? "live" : "lost";
    remember(status);
    tiles?.show(status);
    drawWorkers(status);
    drawStatements();
  } catch (error) {
    if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
      welcome(document.body.dataset.view === "work" ? "Your session has ended. Sign in again." : "");
      return;
    }
    byId("pulse").textContent = "no connection";
    byId("pulse").dataset.state = "lost";
  }
  if (!document.hidden) timer = window.setTimeout(() => void refresh(), EVERY_MS);
}

function remember(now: Status): void {
  for (const worker of now.workers) {
    const known = histories.get(worker.id) ?? { memory: new History(), cpu: new History() };
    known.memory.add(worker.memory ?? 0);
    known.cpu.add(worker.cpu ?? 0);
    histories.set(worker.id, known);
  }
  for (const id of histories.keys()) {
    if (!now.workers.some((w) => w.id === id)) histories.delete(id);
  }
}

/** Replaces rows by key, so that focus and hover survive. */
function reconcile(body: HTMLElement, rows: { key: string; row: HTMLTableRowElement }[]): void {
  const focused = (document.activeElement as HTMLElement | null)?.dataset.focus;
  body.replaceChildren(...rows.map(({ row }) => row));
  if (focused !== undefined) body.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

function drawWorkers(now: Status): void {
  byId("workers-count").textContent = plural(now.workers.length, "worker");
  const rows = now.workers.map((worker) => {
    const history = histories.get(worker.id);
    const user = worker.user ?? "unclaimed";
    const button = h(
      "button",
      {
        type: "button",
        class: "button small danger",
        "aria-label": `Stop the worker of ${user}`,
        "data-focus": `stop-${worker.id}`,
        disabled: !STOPPABLE.has(worker.state),
        onclick: () => void stopWorker(worker),
      },
      "Stop",
    );
    const row = h(
      "tr",
      {},
      h("td", { class: "user-cell", title: user }, user),
      h("td", {}, h("span", { class: "state", "data-state": worker.state }, worker.state)),
      h("td", { class: "num" }, duration(worker.age)),
      h("td", { class: "num" }, worker.idle === null ? "busy" : duration(worker.idle)),
      h("td", { class: "num" }, count(worker.running)),
      h("td", {}, metric(worker.memory === null ? "–" : bytes(worker.memory), history && spark(history.memory.values, "memory", 256e6))),
      h("td", {}, metric(worker.cpu === null ? "–" : `${Math.round(worker.cpu * 100)} %`, history && spark(history.cpu.values, "cpu", 1))),
      h("td", {}, button),
    );
    return { key: worker.id, row };
  });
  if (rows.length === 0) rows.push({ key: "", row: none(8, "No workers are running. A user's next statement starts one.") });
  reconcile(byId("workers"), rows);
}

function metric(text: string, chart: SVGSVGElement | undefined): HTMLElement {
  return h("span", { class: "metric" }, h("span", { class: "metric-value" }, text), chart);
}

function drawStatements(): void {
  if (status === null) return;
  const wanted = byId<HTMLInputElement>("filter").value.trim().toLowerCase();
  const notes = {
    masked: "values are masked as ?",
    full: "",
    none: "text is hidden (console.statement_text)",
  };
  byId("statements-note").textContent = notes[status.statement_text];
  const found = status.statements.filter(
    (s) =>
      (which === "all" || s.state === which) &&
      (wanted === "" || `${s.user} ${s.text}`.toLowerCase().includes(wanted)),
  );
  const rows = found.slice(0, 300).map((statement) => {
    const button = statement.state === "running" &&
      h(
        "button",
        {
          type: "button",
          class: "button small danger",
          "aria-label": `Cancel the statement of ${statement.user}`,
          "data-focus": `cancel-${statement.id}`,
          onclick: () => void cancelStatement(statement),
        },
        "Cancel",
      );
    const row = h(
      "tr",
      {},
      h("td", {}, h("span", { class: "state", "data-state": statement.state }, statement.state)),
      h("td", { class: "user-cell", title: statement.user }, statement.user),
      h(
        "td",
        { class: "sql" },
        h("button", { type: "button", "data-focus": `text-${statement.id}`, onclick: () => showText(statement) }, statement.text || statement.kind),
        statement.error !== null && h("span", { class: "why" }, statement.error),
      ),
      h("td", { class: "num" }, new Date(statement.started * 1000).toLocaleTimeString()),
      h("td", { class: "num" }, duration(statement.seconds)),
      h("td", { class: "num" }, count(statement.rows)),
      h("td", {}, button),
    );
    return { key: statement.id, row };
  });
  if (rows.length === 0) rows.push({ key: "", row: none(7, "No matching statements on the running workers.") });
  reconcile(byId("statements"), rows);
}

function none(columns: number, text: string): HTMLTableRowElement {
  return h("tr", { class: "none" }, h("td", { colspan: columns }, text));
}

function showText(statement: Statement): void {
  const dialog = h(
    "dialog",
    { class: "dialog wide", "aria-labelledby": "text-title" },
    h("h2", { id: "text-title" }, `${statement.kind} of ${statement.user}`),
    h("pre", { class: "value", tabindex: 0 }, statement.text || "The text is not shown here."),
    statement.error !== null && h("p", { class: "error-text" }, statement.error),
    h("form", { method: "dialog", class: "dialog-actions" }, h("button", { class: "button primary" }, "Close")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function act(path: string, body: unknown, done: string): Promise<void> {
  try {
    await call(path, postJson(body));
    toast(done);
  } catch (error) {
    toast((error as Error).message, "error");
  }
  await refresh();
}

async function stopWorker(worker: Worker): Promise<void> {
  const text = "Its statements are cancelled and its in-memory data is lost. The user's next statement starts a new one.";
  if (!(await confirmed(`Stop the worker of ${worker.user ?? "no user"}?`, text, "Stop the worker"))) return;
  await act("/console/workers/stop", { worker: worker.id }, `The worker of ${worker.user ?? "no user"} has stopped`);
}

async function cancelStatement(statement: Statement): Promise<void> {
  await act(
    "/console/statements/cancel",
    { worker: statement.worker, statement: statement.id },
    `The statement of ${statement.user} was cancelled`,
  );
}

begin();
