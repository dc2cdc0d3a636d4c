// One statement: sent, read as it streams, and ended when it is not wanted any more.

import { Problem, call } from "../lib/http";
import type { Session } from "./session";

export const ARROW = "application/vnd.apache.arrow.stream";
export const FORMATS = {
  csv: { type: "text/csv", name: "CSV" },
  parquet: { type: "application/vnd.apache.parquet", name: "Parquet" },
  arrow: { type: ARROW, name: "Arrow" },
} as const;
export type Format = keyof typeof FORMATS;

// Temporary tables, SET and transactions belong to this tab.
const tab = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
  b.toString(16).padStart(2, "0"),
).join("");

export function send(
  session: Session,
  sql: string,
  accept: string,
  signal: AbortSignal,
  options: { queryOnly?: boolean; apart?: boolean } = {},
): Promise<Response> {
  const headers: Record<string, string> = {
    authorization: `Bearer ${session.token}`,
    "content-type": "application/sql",
    accept,
  };
  if (options.apart !== true) headers["pondflight-session"] = tab;
  if (options.queryOnly === true) headers["pondflight-query-only"] = "1";
  return call("/query", { method: "POST", body: sql, headers, signal });
}

/** All rows of a small result, as objects. */
export async function rows<T>(session: Session, sql: string): Promise<T[]> {
  const response = await send(session, sql, "application/x-ndjson", new AbortController().signal, {
    apart: true,
  });
  const text = await response.text();
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

/** What went wrong, in words for the reader. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const detail = error instanceof Error ? error.message : String(error);
  if (/network|terminated|aborted|reset|expected to read/i.test(detail)) {
    return new Problem(0, "The result is incomplete", "some rows are missing; run the query again");
  }
  return new Problem(0, "The result cannot be read", `the response is not a result of this server (${detail})`);
}
