// The lower half: rows as they come, a chart of them, exports, and what went wrong.

import { type RecordBatch, RecordBatchReader } from "apache-arrow";
import { h, icon, toast } from "../lib/dom";
import { bytes, count, duration, plural } from "../lib/format";
import type { Problem } from "../lib/http";
import type { Chart } from "./chart";
import { Grid } from "./grid";
import { ARROW, FORMATS, type Format, asProblem, send } from "./query";
import type { Session } from "./session";
import { MAX_BYTES, Store } from "./store";

const PROGRESS_MS = 100;
const AGAIN = "an export runs the query again, on a read-only connection without temporary tables";

export class Results {
  private readonly grid = new Grid();
  private chart: Chart | null = null;
  private store: Store | null = null;
  private sql = "";
  private running: AbortController | null = null;
  private readonly view = h("div", { class: "result-view" });
  private readonly status = h("p", { class: "result-status", role: "status" });
  private readonly tabs: Record<"rows" | "chart", HTMLButtonElement>;
  private readonly exports: HTMLButtonElement[];

  constructor(
    host: HTMLElement,
    private readonly session: () => Session,
    private readonly on: { state: (running: boolean) => void; failed: (problem: Problem) => void },
  ) {
    this.tabs = { rows: this.tab("rows", "grid", "Rows"), chart: this.tab("chart", "chart", "Chart") };
    this.exports = (Object.keys(FORMATS) as Format[]).map((format) =>
      h(
        "button",
        { type: "button", class: "button small", disabled: true, title: `Run the query again and save all rows as ${FORMATS[format].name}`, onclick: () => void this.export(format) },
        FORMATS[format].name,
      ),
    );
    host.append(
      h(
        "div",
        { class: "result-bar" },
        h("div", { class: "segmented", role: "group", "aria-label": "View" }, this.tabs.rows, this.tabs.chart),
        this.status,
        h("div", { class: "exports", role: "group", "aria-label": "Export" }, icon("download"), ...this.exports),
      ),
      this.view,
    );
    this.empty();
  }

  cancel(): void {
    this.running?.abort();
  }

  get isRunning(): boolean {
    return this.running !== null;
  }

  async run(sql: string): Promise<void> {
    this.cancel();
    const stop = new AbortController();
    this.running = stop;
    this.sql = sql;
    this.store = null;
    this.setActions(false);
    this.on.state(true);
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1000;
    const clock = window.setInterval(() => this.progress(seconds()), PROGRESS_MS);
    this.status.textContent = "Running…";
    this.view.replaceChildren(h("div", { class: "waiting", "aria-hidden": "true" }));
    try {
      const response = await send(this.session(), sql, ARROW, stop.signal);
      await this.read(response, stop, started);
      this.finished(seconds());
    } catch (error) {
      if (this.running !== stop) return; // another statement has taken its place
      if (stop.signal.aborted) this.cancelled(seconds());
      else this.failed(asProblem(error));
    } finally {
      window.clearInterval(clock);
      if (this.running === stop) {
        this.running = null;
        this.on.state(false);
      }
    }
  }

  private async read(response: Response, stop: AbortController, started: number): Promise<void> {
    const pieces = new Pieces(response);
    const reader = await RecordBatchReader.from(pieces);
    await reader.open();
    if (pieces.broken !== null) throw pieces.broken;
    const store = new Store(reader.schema);
    for await (const batch of reader as AsyncIterable<RecordBatch>) {
      if (this.running !== stop) return;
      const first = this.store === null;
      const more = store.push(batch);
      if (first) {
        this.store = store;
        this.begin(store);
        performance.measure("first-rows", { start: started, end: performance.now() });
      } else {
        this.grid.update();
      }
      if (!more) {
        stop.abort("full");
        return;
      }
      await pause();
    }
    if (pieces.broken !== null) throw pieces.broken;
    if (this.store === null) {
      this.store = store;
      this.begin(store);
    }
  }

  private begin(store: Store): void {
    if (store.isCount) return;
    void this.show("rows");
    this.grid.show(store);
  }

  private progress(seconds: number): void {
    if (this.store === null) this.status.textContent = `Running… ${duration(seconds)}`;
    else this.status.textContent = `${plural(this.store.rows, "row")} so far, ${duration(seconds)}`;
  }

  private finished(seconds: number): void {
    const store = this.store;
    if (store === null) return;
    if (store.isCount) {
      const changed = store.number(0, 0);
      this.status.textContent = `${changed === 0 ? "No rows" : plural(changed, "row")} changed · ${duration(seconds)}`;
      this.message("Done", changed === 0 ? "The statement finished." : `${plural(changed, "row")} changed.`);
      return;
    }
    this.status.textContent = `${plural(store.rows, "row")} · ${duration(seconds)} · ${bytes(store.bytes)}`;
    if (store.rows === 0) this.view.append(h("p", { class: "no-rows" }, "The query returned no rows."));
    if (store.full) {
      this.status.textContent = `The first ${count(store.rows)} rows. A tab holds at most ${bytes(MAX_BYTES)}; export to get all rows.`;
    }
    this.setActions(store.columns.length > 0);
  }

  private cancelled(seconds: number): void {
    const rows = this.store?.rows ?? 0;
    this.status.textContent = `Cancelled after ${duration(seconds)}${rows > 0 ? `, ${plural(rows, "row")} received` : ""}`;
    if (rows === 0) this.message("Cancelled", "Your worker stopped the statement.");
    else this.setActions(true);
  }

  private failed(problem: Problem): void {
    const rows = this.store?.rows ?? 0;
    this.status.textContent = rows === 0 ? problem.title : `${problem.title} after ${plural(rows, "row")}`;
    const where = problem.position === undefined ? "" : `Line ${problem.position.line}, column ${problem.position.column}`;
    const panel = h(
      "div",
      { class: "failure", role: "alert" },
      icon("alert"),
      h("div", {}, h("h3", {}, problem.title), where && h("p", { class: "muted" }, where), h("pre", { tabindex: 0 }, problem.message)),
    );
    this.view.replaceChildren(panel, ...(rows === 0 ? [] : [this.grid.element]));
    if (rows === 0) this.store = null;
    this.on.failed(problem);
  }

  private empty(): void {
    this.message("No results yet", "Write SQL above, or choose a table on the left. Ctrl + Enter runs it.");
  }

  private message(title: string, text: string): void {
    this.view.replaceChildren(h("div", { class: "hint" }, h("h3", {}, title), h("p", {}, text)));
  }

  private setActions(enabled: boolean): void {
    for (const button of this.exports) button.disabled = !enabled;
    this.tabs.chart.disabled = !enabled;
    this.tabs.chart.title = "";
  }

  private tab(name: "rows" | "chart", symbol: string, label: string): HTMLButtonElement {
    const button = h(
      "button",
      { type: "button", class: "segment", "aria-pressed": name === "rows", disabled: name === "chart", onclick: () => void this.show(name) },
      icon(symbol),
      label,
    );
    return button;
  }

  private async show(name: "rows" | "chart"): Promise<void> {
    const store = this.store;
    if (store === null) return;
    if (name === "chart") {
      const module = await import("./chart");
      const refusal = module.Chart.refuses(store);
      if (refusal !== null) {
        toast(`No chart: ${refusal}`, "error");
        return;
      }
      this.chart ??= new module.Chart();
      this.view.replaceChildren(this.chart.element);
      this.chart.show(store);
    } else {
      this.view.replaceChildren(this.grid.element);
    }
    for (const [key, button] of Object.entries(this.tabs)) {
      button.setAttribute("aria-pressed", String(key === name));
    }
  }

  /** Runs the query again and saves it: never anything that changes something. */
  private async export(format: Format): Promise<void> {
    const { type, name } = FORMATS[format];
    toast(`Exporting ${name}…`);
    for (const button of this.exports) button.disabled = true;
    try {
      const response = await send(this.session(), this.sql, type, new AbortController().signal, { queryOnly: true });
      const data = await response.blob();
      const link = h("a", { href: URL.createObjectURL(data), download: `result.${format}` });
      document.body.append(link);
      link.click();
      link.remove();
      window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      toast(`Saved result.${format}, ${bytes(data.size)}`);
    } catch (error) {
      const { message, status } = asProblem(error);
      const why = status === 400 || status === 403 ? ` (${AGAIN})` : "";
      toast(`Not exported: ${message}${why}`, "error");
    } finally {
      this.setActions(true);
    }
  }
}

/** The pieces of a body. Arrow takes one that breaks off for one that ends: ``broken`` tells. */
class Pieces implements AsyncIterable<Uint8Array> {
  broken: unknown = null;

  constructor(private readonly response: Response) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    const reader = this.response.body?.getReader();
    if (reader === undefined) return;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } catch (error) {
      this.broken = error;
      throw error;
    } finally {
      reader.cancel().catch(() => undefined);
    }
  }
}

/** Lets the page draw and listen between two batches. */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}
