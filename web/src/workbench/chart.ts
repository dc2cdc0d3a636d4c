// A chart of a result in one click: a time or a number along the bottom gives lines, words bars.

import uPlot from "uplot";
import { h } from "../lib/dom";
import { count, plural } from "../lib/format";
import { colour } from "../lib/theme";
import type { Store } from "./store";

const MOST_POINTS = 100_000;
const MOST_BARS = 60;
const MOST_SERIES = 6;
const LABEL_WIDTH = 92;
const LABEL_HEIGHT = 24;
const ROW = -1; // in place of a column: the number of the row
const PALETTE = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

interface Choice {
  x: number;
  y: number[];
}

interface Data {
  x: number[];
  labels: string[] | null;
  y: (number | null)[][];
  note: string;
}

export class Chart {
  readonly element = h("div", { class: "chart" });
  private store: Store | null = null;
  private choice: Choice | null = null;
  private plot: uPlot | null = null;
  private readonly canvas = h("div", { class: "chart-canvas", role: "img" });
  private readonly controls = h("div", { class: "chart-controls" });
  private readonly note = h("p", { class: "chart-note" });

  constructor() {
    this.element.append(this.controls, this.canvas, this.note);
    new ResizeObserver(() => {
      if (this.plot !== null && this.canvas.clientWidth > 0) this.plot.setSize(this.size());
    }).observe(this.canvas);
    window.addEventListener("themechange", () => this.draw());
  }

  /** Why there is no chart of this result; null if there is one. */
  static refuses(store: Store): string | null {
    if (store.rows === 0) return "no rows";
    return store.columns.some((c) => c.numeric) ? null : "no numeric column";
  }

  show(store: Store): void {
    if (store !== this.store) {
      this.store = store;
      this.choice = choose(store);
    }
    this.drawControls();
    this.draw();
  }

  private drawControls(): void {
    const { store, choice } = this;
    if (store === null || choice === null) return;
    const options = (selected: number, wanted: (i: number) => boolean) =>
      store.columns.flatMap((column, i) =>
        wanted(i) ? [h("option", { value: i, selected: i === selected }, column.name)] : [],
      );
    const byRow = h("option", { value: ROW, selected: choice.x === ROW }, "row number");
    const x = h("select", { id: "chart-x" }, ...options(choice.x, () => true), byRow);
    x.addEventListener("change", () => {
      choice.x = Number(x.value);
      this.draw();
    });
    const toggles = store.columns.flatMap((column, i) => {
      if (!column.numeric) return [];
      const box = h("input", { type: "checkbox", checked: choice.y.includes(i) });
      box.addEventListener("change", () => {
        choice.y = box.checked ? [...choice.y, i].sort((a, b) => a - b) : choice.y.filter((c) => c !== i);
        choice.y = choice.y.slice(-MOST_SERIES);
        this.draw();
      });
      return [h("label", { class: "check" }, box, column.name)];
    });
    this.controls.replaceChildren(
      h("label", { class: "field" }, "X axis", x),
      h("fieldset", { class: "chart-series" }, h("legend", {}, "Y axis"), ...toggles.slice(0, 12)),
    );
  }

  private size(): { width: number; height: number } {
    return { width: this.canvas.clientWidth, height: Math.max(180, this.canvas.clientHeight - 34) };
  }

  private draw(): void {
    this.plot?.destroy();
    this.plot = null;
    const { store, choice } = this;
    if (store === null || choice === null || !this.element.isConnected) return;
    const data = collect(store, choice);
    this.note.textContent = data.note;
    const names = choice.y.map((i) => store.columns[i]?.name ?? "");
    this.canvas.setAttribute(
      "aria-label",
      `Chart of ${names.join(", ")} by ${store.columns[choice.x]?.name ?? "row number"}, ${plural(data.x.length, "point")}`,
    );
    if (choice.y.length === 0) return;
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    const labels = data.labels;
    const { width } = this.size();
    const slanted = labels !== null && data.x.length * LABEL_WIDTH > width;
    const room = slanted ? LABEL_HEIGHT : LABEL_WIDTH;
    const bars = labels === null ? undefined : uPlot.paths.bars?.({ size: [0.7, 64], radius: 0.15 });
    const options: uPlot.Options = {
      ...this.size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"), // as in the rows
      scales: {
        x: labels === null ? { time: store.columns[choice.x]?.kind === "time" } : { time: false, range: (_, low, high) => [low - 0.6, high + 0.6] },
        ...(labels === null ? {} : { y: { range: (_u: uPlot, low: number, high: number) => [Math.min(0, low), Math.max(0, high) * 1.05 || 1] } }),
      } as uPlot.Scales,
      axes: [
        labels === null
          ? axis
          : {
              ...axis,
              grid: { show: false },
              // Side by side where there is room, else one below the other's end.
              ...(slanted ? { rotate: -45, size: 76 } : {}),
              splits: () => data.x.filter((_, i) => i % Math.ceil((data.x.length * room) / width) === 0),
              values: (_, splits) => splits.map((i) => shorten(labels[i] ?? "")),
            },
        { ...axis, size: 64 },
      ],
      series: [
        labels === null ? {} : { value: (_, i) => labels[i] ?? "" },
        ...names.map((label, i) => {
          const stroke = colour(PALETTE[i % PALETTE.length] ?? "accent");
          return { label, stroke, width: 1.75, fill: bars === undefined ? undefined : stroke, paths: bars, points: { show: labels === null && data.x.length < 80 } } as uPlot.Series;
        }),
      ],
    };
    this.plot = new uPlot(options, [data.x, ...data.y] as uPlot.AlignedData, this.canvas);
  }
}

function choose(store: Store): Choice {
  const { columns } = store;
  let x = columns.findIndex((c) => c.kind === "time");
  if (x < 0) x = columns.findIndex((c) => c.kind === "text");
  if (x < 0) x = columns.length > 1 ? 0 : ROW;
  const y = columns.flatMap((c, i) => (c.numeric && i !== x ? [i] : []));
  if (y.length === 0) return { x: ROW, y: [x] };
  // Bars of one series stand side by side; those of several would hide each other.
  return { x, y: y.slice(0, columns[x]?.kind === "text" ? 1 : 3) };
}

function collect(store: Store, { x, y }: Choice): Data {
  const kind = x === ROW ? "number" : store.columns[x]?.kind;
  return kind === "number" || kind === "time" ? lines(store, x, y) : bars(store, x, y);
}

function lines(store: Store, x: number, y: number[]): Data {
  const step = Math.max(1, Math.ceil(store.rows / MOST_POINTS));
  const points: [number, number][] = [];
  for (let row = 0; row < store.rows; row += step) {
    const at = x === ROW ? row + 1 : store.number(row, x);
    if (Number.isFinite(at)) points.push([at, row]);
  }
  points.sort((a, b) => a[0] - b[0]);
  let note = step > 1 ? `Every ${count(step)}th of ${count(store.rows)} rows is shown.` : "";
  if (points.length === 0) note = `${store.columns[x]?.name} has no values to plot.`;
  return {
    x: points.map(([at]) => at),
    labels: null,
    y: y.map((column) => points.map(([, row]) => orNull(store.number(row, column)))),
    note,
  };
}

function bars(store: Store, x: number, y: number[]): Data {
  const groups = new Map<string, number[]>();
  const rows = Math.min(store.rows, MOST_POINTS);
  let repeated = false;
  for (let row = 0; row < rows; row += 1) {
    const label = store.text(row, x) ?? "NULL";
    const sums = groups.get(label);
    const values = y.map((column) => store.number(row, column));
    if (sums === undefined) groups.set(label, values);
    else {
      repeated = true;
      values.forEach((value, i) => { sums[i] = (sums[i] ?? 0) + (Number.isNaN(value) ? 0 : value); });
    }
  }
  let entries = [...groups];
  const notes = repeated ? ["Rows with the same label are summed."] : [];
  if (entries.length > MOST_BARS) {
    entries = entries.sort((a, b) => (b[1][0] ?? 0) - (a[1][0] ?? 0)).slice(0, MOST_BARS);
    notes.push(`The ${MOST_BARS} largest of ${count(groups.size)} are shown.`);
  }
  return {
    x: entries.map((_, i) => i),
    labels: entries.map(([label]) => label),
    y: y.map((_, i) => entries.map(([, sums]) => orNull(sums[i] ?? Number.NaN))),
    note: notes.join(" "),
  };
}

const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);
const shorten = (text: string): string => (text.length > 12 ? `${text.slice(0, 11)}…` : text);
