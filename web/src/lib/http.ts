// Calls of this server, and its problem documents as errors.

export interface Position {
  line: number;
  column: number;
  offset: number;
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    detail: string,
    readonly position?: Position,
    readonly members: Record<string, unknown> = {},
  ) {
    super(detail);
  }
}

/** The answer, if it is a good one; else its problem document as an error. */
export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", redirect: "error", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "No connection", "the server cannot be reached; is it running?");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

export async function callJson<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await call(path, init);
  return (await response.json()) as T;
}

export function postJson(body: unknown, headers: Record<string, string> = {}): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  };
}

async function problemOf(response: Response): Promise<Problem> {
  let body: Record<string, unknown> = {};
  try {
    body = (await response.json()) as Record<string, unknown>;
  } catch {
    // Not a document of ours: something between here and the server said it.
  }
  const text = (value: unknown, fallback: string) => (typeof value === "string" ? value : fallback);
  return new Problem(
    response.status,
    text(body.title, response.statusText || "Error"),
    text(body.detail, `the server answered ${response.status}`),
    body.position as Position | undefined,
    body,
  );
}
