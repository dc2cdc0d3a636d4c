// A table of any length: only what can be seen is in the page.
//
// Beyond MAX_HEIGHT browsers lose pixels, so a longer table is scrolled in proportion. Keys move
// an active cell (aria-activedescendant), which screen readers follow.

import { h, toast } from "../lib/dom";
import { count } from "../lib/format";
import type { Store } from "./store";
import { pretty } from "./values";

const ROW = 28;
const HEAD = 44;
const MAX_HEIGHT = 15_000_000;
const OVERSCAN = 6;
const SHOWN_CHARACTERS = 300;
const SAMPLE = 50;

export class Grid {
  readonly element: HTMLElement;
  private readonly body: HTMLElement;
  private readonly head: HTMLElement;
  private readonly drawn = new Map<number, HTMLElement>();
  private store: Store | null = null;
  private widths: number[] = [];
  private lefts: number[] = [];
  private gutter = 56;
  private active = { row: 0, column: 0 };
  private columnRange = "";
  private scheduled = false;

  constructor() {
    this.head = h("div", { class: "grid-head", role: "row", "aria-rowindex": 1 });
    this.body = h("div", { class: "grid-body", role: "rowgroup" });
    this.element = h(
      "div",
      { class: "grid", role: "grid", tabindex: 0, "aria-label": "Rows of the result" },
      h("div", { role: "rowgroup", class: "grid-headgroup" }, this.head),
      this.body,
    );
    this.element.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("click", (event) => this.onClick(event));
    this.element.addEventListener("dblclick", () => this.open());
    new ResizeObserver(() => this.schedule()).observe(this.element);
  }

  show(store: Store): void {
    this.store = store;
    this.active = { row: 0, column: 0 };
    this.element.scrollTop = 0;
    this.element.scrollLeft = 0;
    this.element.setAttribute("aria-colcount", String(store.columns.length));
    this.measure();
    this.update();
  }

  /** More rows have come. */
  update(): void {
    const store = this.store;
    if (store === null) return;
    if (store.rows > 0 && this.body.dataset.measured !== "true") this.measure();
    this.element.setAttribute("aria-rowcount", String(store.rows + 1));
    this.body.style.height = `${Math.min(store.rows * ROW, MAX_HEIGHT)}px`;
    const gutter = Math.max(44, count(store.rows).length * 8 + 22);
    if (gutter !== this.gutter) {
      this.gutter = gutter;
      this.layout();
    }
    this.schedule();
  }

  private measure(): void {
    const store = this.store;
    if (store === null) return;
    this.body.dataset.measured = store.rows > 0 ? "true" : "false";
    this.widths = store.columns.map((column, index) => {
      let longest = Math.max(column.name.length * 1.1, Math.min(column.type.length, 24) * 0.9);
      for (let row = 0; row < Math.min(SAMPLE, store.rows); row += 1) {
        longest = Math.max(longest, (store.text(row, index) ?? "NULL").slice(0, 60).length);
      }
      return Math.round(Math.min(420, Math.max(72, longest * 7.6 + 26)));
    });
    this.layout();
  }

  private layout(): void {
    let left = this.gutter;
    this.lefts = this.widths.map((width) => {
      left += width;
      return left - width;
    });
    for (const part of [this.head, this.body]) part.style.width = `${left}px`;
    this.columnRange = "";
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  private get viewRows(): number {
    return Math.max(1, Math.floor((this.element.clientHeight - HEAD) / ROW));
  }

  private get first(): number {
    const rows = this.store?.rows ?? 0;
    if (rows * ROW <= MAX_HEIGHT) return this.element.scrollTop / ROW;
    const room = MAX_HEIGHT - (this.element.clientHeight - HEAD);
    return (Math.min(1, this.element.scrollTop / room) * (rows * ROW - (this.element.clientHeight - HEAD))) / ROW;
  }

  private scrollToRow(row: number): void {
    const rows = this.store?.rows ?? 0;
    const view = this.element.clientHeight - HEAD;
    const first = this.first;
    let wanted = first;
    if (row < first) wanted = row;
    else if (row + 1 > first + view / ROW) wanted = row + 1 - view / ROW;
    else return;
    if (rows * ROW <= MAX_HEIGHT) this.element.scrollTop = wanted * ROW;
    else this.element.scrollTop = ((wanted * ROW) / (rows * ROW - view)) * (MAX_HEIGHT - view);
  }

  private columns(): [number, number] {
    const { scrollLeft, clientWidth } = this.element;
    let from = 0;
    while (from < this.lefts.length - 1 && (this.lefts[from + 1] ?? 0) < scrollLeft) from += 1;
    let to = from;
    while (to < this.lefts.length && (this.lefts[to] ?? 0) < scrollLeft + clientWidth + 200) to += 1;
    return [Math.max(0, from - 1), to];
  }

  private draw(): void {
    const store = this.store;
    if (store === null) return;
    const [from, to] = this.columns();
    const range = `${from}-${to}-${this.gutter}`;
    if (range !== this.columnRange) {
      this.columnRange = range;
      this.drawHead(from, to);
      for (const row of this.drawn.values()) row.remove();
      this.drawn.clear();
    }
    const first = this.first;
    const start = Math.max(0, Math.floor(first) - OVERSCAN);
    const end = Math.min(store.rows, Math.ceil(first) + this.viewRows + OVERSCAN);
    for (const [index, row] of this.drawn) {
      if (index < start || index >= end) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    const offset = this.element.scrollTop - first * ROW;
    for (let index = start; index < end; index += 1) {
      let row = this.drawn.get(index);
      if (row === undefined) {
        row = this.drawRow(store, index, from, to);
        this.drawn.set(index, row);
        this.body.append(row);
      }
      row.style.transform = `translateY(${offset + index * ROW}px)`;
    }
    this.mark();
  }

  private drawHead(from: number, to: number): void {
    const cells: HTMLElement[] = [h("div", { class: "grid-gutter", role: "presentation" })];
    this.place(cells[0]!, 0, this.gutter);
    for (let index = from; index < to; index += 1) {
      const column = this.store?.columns[index];
      if (column === undefined) continue;
      const cell = h(
        "div",
        {
          class: `grid-cell${column.numeric ? " numeric" : ""}`,
          role: "columnheader",
          "aria-colindex": index + 1,
          title: `${column.name} (${column.type})`,
        },
        h("span", { class: "grid-name" }, column.name),
        h("span", { class: "grid-type" }, column.type),
      );
      this.place(cell, this.lefts[index] ?? 0, this.widths[index] ?? 0);
      cells.push(cell);
    }
    this.head.replaceChildren(...cells);
  }

  private drawRow(store: Store, index: number, from: number, to: number): HTMLElement {
    const number = h("div", { class: "grid-gutter", role: "presentation" }, count(index + 1));
    this.place(number, 0, this.gutter);
    const row = h("div", { class: "grid-row", role: "row", "aria-rowindex": index + 2 }, number);
    for (let column = from; column < to; column += 1) {
      const text = store.text(index, column);
      const shown = text === null ? "NULL" : text.slice(0, SHOWN_CHARACTERS);
      const kind = `${text === null ? " null" : ""}${store.columns[column]?.numeric ? " numeric" : ""}`;
      const cell = h(
        "div",
        {
          class: `grid-cell${kind}`,
          role: "gridcell",
          id: `cell-${index}-${column}`,
          "aria-colindex": column + 1,
        },
        shown,
      );
      this.place(cell, this.lefts[column] ?? 0, this.widths[column] ?? 0);
      row.append(cell);
    }
    return row;
  }

  private place(cell: HTMLElement, left: number, width: number): void {
    cell.style.left = `${left}px`;
    cell.style.width = `${width}px`;
  }

  private mark(): void {
    const id = `cell-${this.active.row}-${this.active.column}`;
    this.body.querySelector(".active")?.classList.remove("active");
    const cell = document.getElementById(id);
    cell?.classList.add("active");
    if (cell !== null) this.element.setAttribute("aria-activedescendant", id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  private onClick(event: Event): void {
    const match = /^cell-(\d+)-(\d+)$/.exec((event.target as HTMLElement).id);
    if (match === null) return;
    this.active = { row: Number(match[1]), column: Number(match[2]) };
    this.mark();
  }

  private onKey(event: KeyboardEvent): void {
    const store = this.store;
    if (store === null || store.rows === 0) return;
    const [rows, columns] = [store.rows - 1, store.columns.length - 1];
    const end = event.ctrlKey || event.metaKey;
    let { row, column } = this.active;
    switch (event.key) {
      case "ArrowDown": row += 1; break;
      case "ArrowUp": row -= 1; break;
      case "ArrowRight": column += 1; break;
      case "ArrowLeft": column -= 1; break;
      case "PageDown": row += this.viewRows; break;
      case "PageUp": row -= this.viewRows; break;
      case "Home": column = 0; if (end) row = 0; break;
      case "End": column = columns; if (end) row = rows; break;
      case "Enter":
        if (!end) this.open();
        return;
      case "c":
        if (end && String(getSelection()) === "") this.copy();
        return;
      default: return;
    }
    event.preventDefault();
    this.active = {
      row: Math.min(rows, Math.max(0, row)),
      column: Math.min(columns, Math.max(0, column)),
    };
    this.scrollToRow(this.active.row);
    const left = this.lefts[this.active.column] ?? 0;
    const right = left + (this.widths[this.active.column] ?? 0);
    const { scrollLeft, clientWidth } = this.element;
    if (left - this.gutter < scrollLeft) this.element.scrollLeft = left - this.gutter;
    else if (right > scrollLeft + clientWidth) this.element.scrollLeft = right - clientWidth;
    this.draw();
  }

  private async copy(): Promise<void> {
    await navigator.clipboard.writeText(this.store?.text(this.active.row, this.active.column) ?? "");
    toast("Cell copied");
  }

  /** The whole value of the active cell. */
  private open(): void {
    const column = this.store?.columns[this.active.column];
    if (this.store === null || column === undefined) return;
    const text = this.store.text(this.active.row, this.active.column);
    const dialog = h(
      "dialog",
      { class: "dialog wide", "aria-labelledby": "value-title" },
      h("h2", { id: "value-title" }, `${column.name}, row ${count(this.active.row + 1)}`),
      h("pre", { class: "value", tabindex: 0 }, text === null ? "NULL" : pretty(text).slice(0, 200_000)),
      h(
        "form",
        { method: "dialog", class: "dialog-actions" },
        h("button", { type: "button", class: "button", onclick: () => this.copy() }, "Copy"),
        h("button", { class: "button primary" }, "Close"),
      ),
    );
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}
