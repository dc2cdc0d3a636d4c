// The rows of a result in Arrow's own memory, up to a limit: a browser tab has little of it.

import { type DataType, type RecordBatch, type Schema, Type } from "apache-arrow";

export const MAX_BYTES = 256e6;
export const MAX_ROWS = 10_000_000;

export type Kind = "number" | "time" | "text" | "other";

export interface Column {
  name: string;
  type: string;
  kind: Kind;
  numeric: boolean;
}

export class Store {
  readonly columns: Column[];
  rows = 0;
  bytes = 0;
  full = false;
  private readonly batches: RecordBatch[] = [];
  private readonly starts: number[] = [];
  private readonly formats: ((value: unknown) => string)[];
  private last = 0;

  constructor(readonly schema: Schema) {
    this.columns = schema.fields.map((field) => describe(field.name, field.type));
    this.formats = schema.fields.map((field) => formatter(field.type));
  }

  /** Takes a batch in; false when there is no room for more. */
  push(batch: RecordBatch): boolean {
    if (batch.numRows > 0) {
      this.batches.push(batch);
      this.starts.push(this.rows);
      this.rows += batch.numRows;
      this.bytes += batch.data.byteLength;
    }
    this.full = this.bytes >= MAX_BYTES || this.rows >= MAX_ROWS;
    return !this.full;
  }

  value(row: number, column: number): unknown {
    const index = this.batchOf(row);
    const batch = this.batches[index];
    if (batch === undefined) return null;
    return batch.getChildAt(column)?.get(row - (this.starts[index] ?? 0)) ?? null;
  }

  /** The value as text; null for NULL. */
  text(row: number, column: number): string | null {
    const value = this.value(row, column);
    return value === null ? null : (this.formats[column]?.(value) ?? String(value));
  }

  /** The value as a number, for a chart; NaN where it is none. */
  number(row: number, column: number): number {
    const value = this.value(row, column);
    if (value === null) return Number.NaN;
    if (typeof value === "number") return value;
    if (typeof value === "bigint") return Number(value);
    return Number(this.formats[column]?.(value));
  }

  private batchOf(row: number): number {
    const start = this.starts[this.last] ?? 0;
    const end = start + (this.batches[this.last]?.numRows ?? 0);
    if (row >= start && row < end) return this.last;
    let [low, high] = [0, this.starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= row) low = middle;
      else high = middle - 1;
    }
    this.last = low;
    return low;
  }
}

function describe(name: string, type: DataType): Column {
  const id = type.typeId;
  const numeric = id === Type.Int || id === Type.Float || id === Type.Decimal;
  const time = id === Type.Date || id === Type.Timestamp;
  const text = id === Type.Utf8 || id === Type.LargeUtf8 || id === Type.Dictionary;
  return {
    name,
    type: typeName(type),
    kind: numeric ? "number" : time ? "time" : text || id === Type.Bool ? "text" : "other",
    numeric,
  };
}

/** The SQL name of a type, as short as a heading needs it. */
function typeName(type: DataType): string {
  const bits = (type as unknown as { bitWidth?: number; isSigned?: boolean }).bitWidth ?? 0;
  switch (type.typeId) {
    case Type.Int: {
      const name = { 8: "tinyint", 16: "smallint", 32: "integer", 64: "bigint" }[bits] ?? "int";
      return (type as unknown as { isSigned: boolean }).isSigned ? name : `u${name}`;
    }
    case Type.Float:
      return (type as unknown as { precision: number }).precision === 2 ? "double" : "float";
    case Type.Decimal: {
      const { precision, scale } = type as unknown as { precision: number; scale: number };
      return `decimal(${precision},${scale})`;
    }
    case Type.Utf8:
    case Type.LargeUtf8:
      return "varchar";
    case Type.Bool:
      return "boolean";
    case Type.Date:
      return "date";
    case Type.Timestamp:
      return (type as unknown as { timezone?: string | null }).timezone ? "timestamptz" : "timestamp";
    case Type.Time:
      return "time";
    case Type.Binary:
    case Type.LargeBinary:
      return "blob";
    case Type.Dictionary:
      return "enum";
    case Type.List:
    case Type.FixedSizeList:
      return "list";
    case Type.Struct:
      return "struct";
    case Type.Map:
      return "map";
    default:
      return String(type).toLowerCase();
  }
}

function formatter(type: DataType): (value: unknown) => string {
  switch (type.typeId) {
    case Type.Decimal: {
      const scale = (type as unknown as { scale: number }).scale;
      return (value) => decimal(value, scale);
    }
    case Type.Date:
      return (value) => new Date(Number(value)).toISOString().slice(0, 10);
    case Type.Timestamp:
      return (value) => timestamp(Number(value));
    case Type.Time: {
      const unit = (type as unknown as { unit: number }).unit;
      return (value) => timeOfDay(Number(value) / [1, 1e3, 1e6, 1e9][unit]!);
    }
    case Type.Binary:
    case Type.LargeBinary:
    case Type.FixedSizeBinary:
      return (value) => hex(value as Uint8Array);
    case Type.Dictionary:
      return formatter((type as unknown as { dictionary: DataType }).dictionary);
    case Type.Float:
    case Type.Int:
    case Type.Utf8:
    case Type.LargeUtf8:
    case Type.Bool:
      return String;
    default:
      return (value) => JSON.stringify(value, plain) ?? String(value);
  }
}

function plain(_: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  }
  if (ArrayBuffer.isView(value)) return hex(value as Uint8Array);
  return value;
}

function decimal(value: unknown, scale: number): string {
  const words = value as Uint32Array;
  let number = 0n;
  for (let i = words.length - 1; i >= 0; i -= 1) number = (number << 32n) | BigInt(words[i] ?? 0);
  number = BigInt.asIntN(words.length * 32, number);
  if (scale <= 0) return (number * 10n ** BigInt(-scale)).toString();
  const negative = number < 0n;
  const digits = (negative ? -number : number).toString().padStart(scale + 1, "0");
  return `${negative ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function timestamp(milliseconds: number): string {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return String(milliseconds);
  const text = date.toISOString().replace("T", " ").replace("Z", "");
  return text.endsWith(".000") ? text.slice(0, -4) : text;
}

function timeOfDay(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(11, 23).replace(/\.000$/, "");
}

function hex(value: Uint8Array): string {
  const shown = Array.from(value.subarray(0, 512), (b) => b.toString(16).padStart(2, "0")).join("");
  return `\\x${shown}${value.length > 512 ? "…" : ""}`;
}
