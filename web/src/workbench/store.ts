// The rows of a result in Arrow's own memory, up to a limit: a browser tab has little of it.

import { type DataType, type Field, type RecordBatch, type Schema, Type } from "apache-arrow";
import { numberOf, textOf } from "./values";

export const MAX_BYTES = 256e6;
export const MAX_ROWS = 10_000_000;
const TYPE_NAME = "ARROW:FLIGHT:SQL:TYPE_NAME";

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
  /** The one row of a statement that has none: how many it has changed. */
  readonly isCount: boolean;
  private readonly batches: RecordBatch[] = [];
  private readonly starts: number[] = [];
  private last = 0;

  constructor(readonly schema: Schema) {
    this.columns = schema.fields.map(describe);
    const [only] = schema.fields;
    // The columns of a query bring the name of their type with them.
    this.isCount = schema.fields.length === 1 && only?.name === "Count" && !only.metadata.has(TYPE_NAME);
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

  /** The value as text; null for NULL. */
  text(row: number, column: number): string | null {
    const index = this.batchOf(row);
    const data = this.batches[index]?.data.children[column];
    return data === undefined ? null : textOf(data, row - (this.starts[index] ?? 0));
  }

  /** The value as a number, for a chart, of a time in seconds; NaN where it is none. */
  number(row: number, column: number): number {
    const index = this.batchOf(row);
    const data = this.batches[index]?.data.children[column];
    return data === undefined ? Number.NaN : numberOf(data, row - (this.starts[index] ?? 0));
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

function describe(field: Field): Column {
  const { name, type } = field;
  const id = type.typeId;
  const numeric = id === Type.Int || id === Type.Float || id === Type.Decimal;
  const time = id === Type.Date || id === Type.Timestamp;
  const text = id === Type.Utf8 || id === Type.LargeUtf8 || id === Type.Dictionary;
  return {
    name,
    type: short(field.metadata.get(TYPE_NAME) ?? typeName(type)),
    kind: numeric ? "number" : time ? "time" : text || id === Type.Bool ? "text" : "other",
    numeric,
  };
}

/** In small letters, unless there are names in it. */
function short(type: string): string {
  const simple = !type.includes("(") || type.startsWith("DECIMAL");
  return simple ? type.toLowerCase().replace(" with time zone", "tz") : type;
}

/** The SQL name of a type, where the server does not say it. */
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
