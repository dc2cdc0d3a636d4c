// Arrow values as text, with all their digits. JavaScript's own dates and numbers hold fewer than
// DuckDB's do, so values are read as they are in memory.

import { type Data, IntervalUnit, TimeUnit, Type, UnionMode, Vector } from "apache-arrow";

/** What its buffers hold depends on its type. */
type Any = Data<any>;

/** What types say of themselves, those that have it. */
interface Facts {
  typeId: Type;
  precision: number;
  scale: number;
  unit: number;
  timezone?: string | null;
  children: { name: string }[];
}

const PER_SECOND: Record<number, number> = {
  [TimeUnit.SECOND]: 0,
  [TimeUnit.MILLISECOND]: 3,
  [TimeUnit.MICROSECOND]: 6,
  [TimeUnit.NANOSECOND]: 9,
};
const DAY = 86_400;
const FARTHEST_DAY = 2_147_483_647;
const FARTHEST_TIME = 9_223_372_036_854_775_807n;
const SHOWN_BYTES = 512;
const UTF8 = new TextDecoder();

/** The value as text; null for NULL. */
export function textOf(data: Any, index: number): string | null {
  if (data.typeId === Type.Null || !data.getValid(index)) return null;
  const type = data.type as Facts;
  switch (type.typeId) {
    case Type.Int:
      return String(data.values[index]);
    case Type.Float:
      return float(type.precision, Number(new Vector([data]).get(index)));
    case Type.Decimal:
      return decimal(data, index);
    case Type.Date:
      return dayOf(data, index);
    case Type.Timestamp: {
      const text = timestamp(BigInt(data.values[index]), type.unit);
      return type.timezone && !text.endsWith("infinity") ? `${text}+00` : text;
    }
    case Type.Time:
      return clock(BigInt(data.values[index]), PER_SECOND[type.unit] ?? 0);
    case Type.Interval:
      return interval(data, index);
    case Type.Utf8:
    case Type.LargeUtf8:
      return UTF8.decode(bytes(data, index));
    case Type.Binary:
    case Type.LargeBinary:
      return hex(bytes(data, index));
    case Type.FixedSizeBinary:
      return hex(data.values.subarray(index * data.stride, (index + 1) * data.stride));
    case Type.List:
    case Type.LargeList:
    case Type.FixedSizeList:
      return `[${range(data, index, (child, i) => json(child, i))}]`;
    case Type.Map:
      return `{${range(data, index, (entry, i) => `${key(entry.children[0]!, i)}:${json(entry.children[1]!, i)}`)}}`;
    case Type.Struct:
      return `{${type.children.map((field, i) => `${JSON.stringify(field.name)}:${json(data.children[i]!, index)}`)}}`;
    case Type.Union:
      return textOf(...member(data, index));
    default:
      return String(new Vector([data]).get(index));
  }
}

/** The value as a number: of a time, its seconds since 1970. NaN where it is none. */
export function numberOf(data: Any, index: number): number {
  if (!data.getValid(index)) return Number.NaN;
  const type = data.type as Facts;
  switch (type.typeId) {
    case Type.Int:
      return Number(data.values[index]);
    case Type.Float:
      return Number(new Vector([data]).get(index));
    case Type.Date: {
      const days = daysOf(data, index);
      return Math.abs(days) === FARTHEST_DAY ? Number.NaN : days * DAY;
    }
    case Type.Timestamp: {
      const value = BigInt(data.values[index]);
      const endless = value === FARTHEST_TIME || value === -FARTHEST_TIME;
      return endless ? Number.NaN : Number(value) / 10 ** (PER_SECOND[type.unit] ?? 0);
    }
    default:
      return Number(textOf(data, index) ?? Number.NaN);
  }
}

/** JSON with a line for each member; numbers and text are left as they are. */
export function pretty(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^[\]{},:"\s]+/g) ?? [];
  return tokens
    .map((token, i) => {
      if (token === "[" || token === "{") {
        if (tokens[i + 1] === "]" || tokens[i + 1] === "}") return token;
        depth += 1;
        return token + line();
      }
      if (token === "]" || token === "}") {
        if (tokens[i - 1] === "[" || tokens[i - 1] === "{") return token;
        depth -= 1;
        return line() + token;
      }
      if (token === ",") return token + line();
      return token === ":" ? ": " : token;
    })
    .join("");
}

/** What is inside of a list, a map or a struct: numbers and truth values bare, all else quoted. */
function json(data: Any, index: number): string {
  const text = textOf(data, index);
  if (text === null) return "null";
  switch (data.typeId) {
    case Type.Bool:
    case Type.Int:
    case Type.Decimal:
    case Type.List:
    case Type.LargeList:
    case Type.FixedSizeList:
    case Type.Map:
    case Type.Struct:
      return text;
    case Type.Float:
      return /\d$/.test(text) ? text : JSON.stringify(text);
    case Type.Union:
      return json(...member(data, index));
    default:
      return JSON.stringify(text);
  }
}

function key(data: Any, index: number): string {
  const text = json(data, index);
  return text.startsWith('"') ? text : JSON.stringify(text);
}

function member(data: Any, index: number): [Any, number] {
  const type = data.type as { typeIdToChildIndex: number[]; mode: UnionMode };
  const child = data.children[type.typeIdToChildIndex[data.typeIds[index]] ?? 0]!;
  return [child, type.mode === UnionMode.Dense ? Number(data.valueOffsets[index]) : index];
}

function range(data: Any, index: number, write: (child: Any, index: number) => string): string[] {
  const child = data.children[0]!;
  const size = (data.type as { listSize?: number }).listSize;
  const from = size === undefined ? Number(data.valueOffsets[index]) : index * size;
  const to = size === undefined ? Number(data.valueOffsets[index + 1]) : from + size;
  return Array.from({ length: to - from }, (_, i) => write(child, from + i));
}

function bytes(data: Any, index: number): Uint8Array {
  return data.values.subarray(Number(data.valueOffsets[index]), Number(data.valueOffsets[index + 1]));
}

function hex(value: Uint8Array): string {
  const shown = Array.from(value.subarray(0, SHOWN_BYTES), (b) => b.toString(16).padStart(2, "0")).join("");
  return `\\x${shown}${value.length > SHOWN_BYTES ? "…" : ""}`;
}

/** As many digits as tell the value from its neighbours. */
function float(precision: number, value: number): string {
  if (precision !== 1 || !Number.isFinite(value)) return String(value);
  for (let digits = 6; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

function decimal(data: Any, index: number): string {
  const words = data.values.subarray(index * data.stride, (index + 1) * data.stride) as Uint32Array;
  const { scale } = data.type as Facts;
  let number = 0n;
  for (let i = words.length - 1; i >= 0; i -= 1) number = (number << 32n) | BigInt((words[i] ?? 0) >>> 0);
  number = BigInt.asIntN(words.length * 32, number);
  const negative = number < 0n;
  const digits = (negative ? -number : number).toString().padStart(scale + 1, "0");
  const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  return negative ? `-${text}` : text;
}

function daysOf(data: Any, index: number): number {
  const inDays = (data.type as Facts).unit === 0;
  return inDays ? Number(data.values[index]) : Math.floor(Number(data.values[index]) / (DAY * 1000));
}

function dayOf(data: Any, index: number): string {
  const days = daysOf(data, index);
  if (Math.abs(days) === FARTHEST_DAY) return days < 0 ? "-infinity" : "infinity";
  return date(days);
}

/** A day since 1970 in the Gregorian calendar, of any year. */
function date(days: number): string {
  const era = Math.floor((days + 719_468) / 146_097);
  const inEra = days + 719_468 - era * 146_097;
  const year = Math.floor((inEra - Math.floor(inEra / 1460) + Math.floor(inEra / 36_524) - Math.floor(inEra / 146_096)) / 365);
  const inYear = inEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
  const month = Math.floor((5 * inYear + 2) / 153);
  const day = inYear - Math.floor((153 * month + 2) / 5) + 1;
  const named = era * 400 + year + (month >= 10 ? 1 : 0);
  const shown = String(named > 0 ? named : 1 - named).padStart(4, "0");
  return `${shown}-${two(month < 10 ? month + 3 : month - 9)}-${two(day)}${named > 0 ? "" : " (BC)"}`;
}

function timestamp(value: bigint, unit: TimeUnit): string {
  if (value === FARTHEST_TIME) return "infinity";
  if (value === -FARTHEST_TIME) return "-infinity";
  const places = PER_SECOND[unit] ?? 0;
  const aDay = BigInt(DAY) * 10n ** BigInt(places);
  const inDay = ((value % aDay) + aDay) % aDay;
  return `${date(Number((value - inDay) / aDay))} ${clock(inDay, places)}`;
}

/** A time of day; ``places``: digits of the second that the unit has. */
function clock(value: bigint, places: number): string {
  const one = 10n ** BigInt(places);
  const seconds = Number(value / one);
  const fraction = (value % one).toString().padStart(places, "0").replace(/0+$/, "");
  const text = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return value % one === 0n ? text : `${text}.${fraction}`;
}

function interval(data: Any, index: number): string {
  const { unit } = data.type as { unit: IntervalUnit };
  const at = index * data.stride;
  const values = data.values as Int32Array;
  let [months, days, nanoseconds] = [0, 0, 0n];
  if (unit === IntervalUnit.YEAR_MONTH) {
    months = values[at] ?? 0;
  } else if (unit === IntervalUnit.DAY_TIME) {
    days = values[at] ?? 0;
    nanoseconds = BigInt(values[at + 1] ?? 0) * 1_000_000n;
  } else {
    months = values[at] ?? 0;
    days = values[at + 1] ?? 0;
    nanoseconds = (BigInt(values[at + 3] ?? 0) << 32n) | BigInt((values[at + 2] ?? 0) >>> 0);
  }
  const parts = [
    [Math.trunc(months / 12), "year"],
    [months % 12, "month"],
    [days, "day"],
  ].flatMap(([n, noun]) => (n === 0 ? [] : [`${n} ${noun}${Math.abs(Number(n)) === 1 ? "" : "s"}`]));
  if (nanoseconds !== 0n || parts.length === 0) {
    const size = nanoseconds < 0n ? -nanoseconds : nanoseconds;
    parts.push(`${nanoseconds < 0n ? "-" : ""}${clock(size, 9)}`);
  }
  return parts.join(" ");
}

const two = (value: number): string => String(value).padStart(2, "0");
