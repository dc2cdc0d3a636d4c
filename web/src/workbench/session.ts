// Who is using the page. The token lives as long as the tab and is sent nowhere but to this server.

import { Problem, callJson } from "../lib/http";

const KEY = "pondflight.token";

export interface Session {
  token: string;
  user: string;
  expires: Date;
  demo: boolean;
}

export function stored(): Session | null {
  const token = sessionStorage.getItem(KEY);
  if (token === null) return null;
  const session = read(token);
  if (session === null || session.expires.getTime() < Date.now()) {
    forget();
    return null;
  }
  return session;
}

export function keep(session: Session): void {
  sessionStorage.setItem(KEY, session.token);
}

export function forget(): void {
  sessionStorage.removeItem(KEY);
}

/** What a token says of itself; whether it is true, the server decides. */
export function read(text: string): Session | null {
  const token = text.trim().replace(/^bearer\s+/i, "");
  const parts = token.split(".");
  if (parts.length !== 3) return null;
  try {
    const bytes = Uint8Array.from(
      atob((parts[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")),
      (c) => c.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (typeof claims.sub !== "string" || typeof claims.exp !== "number") return null;
    return {
      token,
      user: claims.sub,
      expires: new Date(claims.exp * 1000),
      demo: claims.demo === true,
    };
  } catch {
    return null;
  }
}

export async function demo(): Promise<Session> {
  const answer = await callJson<{ token: string }>("/auth/demo-token", { method: "POST" });
  const session = read(answer.token);
  if (session === null) throw new Problem(500, "No token", "the server gave no token");
  return session;
}
