// The figures on top, each with the line that it drew since the page was opened.

import uPlot from "uplot";
import { h } from "../lib/dom";
import { bytes, count } from "../lib/format";
import { colour } from "../lib/theme";
import type { Status } from "./status";

const KEPT = 240;

interface Tile {
  title: string;
  read: (now: Status) => number;
  text: (value: number, now: Status) => [string, string];
  colour: string;
  times: number[];
  values: number[];
  value: HTMLElement;
  plot: uPlot | null;
  canvas: HTMLElement;
}

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

export class Tiles {
  private readonly tiles: Tile[];
  private lastTotal: number | null = null;

  constructor(host: HTMLElement) {
    const make = (title: string, colourName: string, read: Tile["read"], text: Tile["text"]): Tile => ({
      title, read, text, colour: colourName, times: [], values: [],
      value: h("p", { class: "tile-value" }), plot: null, canvas: h("div", { class: "tile-chart", "aria-hidden": "true" }),
    });
    this.tiles = [
      make("Workers", "series-1", (s) => s.pool.active, (v, s) => [count(v), `${count(s.pool.total_spawned)} started, ${count(s.pool.total_stopped)} stopped`]),
      make("Running statements", "series-3", (s) => s.statements.filter((x) => x.state === "running").length, (v) => [count(v), "now"]),
      make("Memory of all workers", "series-5", (s) => sum(s.workers.map((w) => w.memory ?? 0)), (v) => [bytes(v), ""]),
      make("CPU of all workers", "series-2", (s) => sum(s.workers.map((w) => w.cpu ?? 0)), (v) => [v.toFixed(2), v === 1 ? "core" : "cores"]),
    ];
    host.replaceChildren(
      ...this.tiles.map((tile) => h("div", { class: "tile" }, h("h3", {}, tile.title), tile.value, tile.canvas)),
    );
    for (const tile of this.tiles) tile.plot = this.draw(tile);
    new ResizeObserver(() => {
      for (const tile of this.tiles) tile.plot?.setSize({ width: tile.canvas.clientWidth, height: 58 });
    }).observe(host);
    window.addEventListener("themechange", () => {
      for (const tile of this.tiles) {
        tile.plot?.destroy();
        tile.plot = this.draw(tile);
      }
    });
  }

  show(now: Status): void {
    this.lastTotal = now.time;
    for (const tile of this.tiles) {
      const value = tile.read(now);
      tile.times.push(now.time);
      tile.values.push(value);
      if (tile.times.length > KEPT) {
        tile.times.shift();
        tile.values.shift();
      }
      const [figure, note] = tile.text(value, now);
      tile.value.replaceChildren(figure, " ", h("small", {}, note));
      tile.plot?.setData([tile.times, tile.values]);
    }
  }

  private draw(tile: Tile): uPlot {
    const stroke = colour(tile.colour);
    const end = this.lastTotal ?? Date.now() / 1000;
    return new uPlot(
      {
        width: tile.canvas.clientWidth || 210,
        height: 58,
        padding: [4, 0, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        axes: [{ show: false }, { show: false }],
        scales: {
          x: { time: false, range: (_u, low, high) => [Math.min(Math.max(low ?? end, (high ?? end) - 180), (high ?? end) - 30), high ?? end] },
          y: { range: (_u, _low, high) => [0, Math.max(high ?? 0, 1e-6) * 1.25] },
        },
        series: [{}, { stroke, width: 1.5, fill: `${stroke}22`, points: { show: false } }],
      },
      [tile.times, tile.values],
      tile.canvas,
    );
  }
}
