// What GET /console/status answers.

export interface Worker {
  id: string;
  user: string | null;
  state: string;
  age: number;
  idle: number | null;
  running: number;
  memory: number | null;
  cpu: number | null;
}

export interface Statement {
  id: string;
  worker: string;
  user: string;
  text: string;
  kind: string;
  state: "running" | "done" | "failed" | "cancelled";
  started: number;
  seconds: number;
  rows: number;
  error: string | null;
}

export interface Status {
  time: number;
  ready: boolean;
  version: string;
  statement_text: "masked" | "full" | "none";
  pool: { active: number; total_spawned: number; total_stopped: number };
  workers: Worker[];
  statements: Statement[];
}
