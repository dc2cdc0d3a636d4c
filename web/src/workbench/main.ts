// The page for users: a token, their databases, SQL, rows.

import { byId, h, icon, toast } from "../lib/dom";
import { duration } from "../lib/format";
import { Problem, callJson, postJson } from "../lib/http";
import { themeButton } from "../lib/theme";
import type { Editor } from "./editor";
import * as sessions from "./session";
import type { Session } from "./session";
import type { Catalog } from "./tree";

interface Site {
  version: string;
  demo: boolean;
  ai: boolean;
  ai_for_demo: boolean;
  flight_port: number;
}

const INITIAL = "-- Ctrl + Enter runs this. Tables are on the left.\nSHOW ALL TABLES;\n";

let site: Site = { version: "", demo: false, ai: false, ai_for_demo: false, flight_port: 8081 };
let session: Session | null = null;
let asked: Promise<void> = Promise.resolve();

async function begin(): Promise<void> {
  themeButton(byId<HTMLButtonElement>("theme"));
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    void signIn(byId<HTMLTextAreaElement>("token").value);
  });
  byId("demo").addEventListener("click", () => void tryDemo());
  session = sessions.stored();
  asked = callJson<Site>("/ui.json")
    .then((found) => void (site = found))
    .catch((error: unknown) => toast((error as Error).message, "error"));
  await asked;
  byId("demo-row").hidden = !site.demo;
  if (session !== null) await enter(session);
}

function welcome(message = ""): void {
  document.body.dataset.view = "welcome";
  byId("welcome-error").textContent = message;
  byId<HTMLTextAreaElement>("token").focus();
}

async function signIn(text: string): Promise<void> {
  const found = sessions.read(text);
  if (found === null) {
    welcome("This is not a token. A token has three parts, separated by dots.");
    return;
  }
  await enter(found);
}

async function tryDemo(): Promise<void> {
  try {
    await enter(await sessions.demo());
  } catch (error) {
    welcome((error as Error).message);
  }
}

let entered = false;

async function enter(found: Session): Promise<void> {
  const submit = byId<HTMLButtonElement>("sign-in-button");
  submit.disabled = true;
  try {
    const [{ load, Tree }, { Editor }, { Results }] = await Promise.all([
      import("./tree"),
      import("./editor"),
      import("./results"),
    ]);
    const catalog = await load(found); // also shows whether the token is good
    await asked;
    session = found;
    sessions.keep(found);
    byId<HTMLTextAreaElement>("token").value = "";
    if (entered) {
      location.reload(); // another user, perhaps: nothing of the one before stays
      return;
    }
    entered = true;
    document.body.dataset.view = "work";
    showUser(found);
    window.setInterval(() => showUser(found), 15_000);
    workbench(catalog, load, Tree, Editor, Results);
  } catch (error) {
    sessions.forget();
    const refused = error instanceof Problem && error.status === 401;
    welcome(refused ? "The server rejected this token. It is invalid or has expired." : (error as Error).message);
  } finally {
    submit.disabled = false;
  }
}

function showUser(user: Session): void {
  const left = (user.expires.getTime() - Date.now()) / 1000;
  byId("user").replaceChildren(
    h("span", { class: "user-name" }, user.user),
    h("span", { class: "user-hint", title: user.expires.toLocaleString() }, `${user.demo ? "demo, " : ""}${duration(left)} left`),
  );
}

function workbench(
  first: Catalog,
  load: (session: Session) => Promise<Catalog>,
  Tree: typeof import("./tree").Tree,
  EditorClass: typeof Editor,
  Results: typeof import("./results").Results,
): void {
  const current = () => session as Session;
  let catalog = first;
  const run = () => {
    const text = editor.sql;
    if (text.trim() === "") return;
    base = editor.offset;
    editor.mark(null);
    void results.run(text).then(() => {
      if (/\b(create|drop|alter|attach|detach|use)\b/i.test(text)) void refresh();
    });
  };
  let base = 0;
  const editor = new EditorClass(byId("editor"), { run, initial: INITIAL, user: current().user });
  const runButton = byId<HTMLButtonElement>("run");
  const results = new Results(byId("results"), current, {
    state: (running) => {
      runButton.dataset.running = String(running);
      runButton.replaceChildren(icon(running ? "stop" : "play"), running ? "Cancel" : "Run");
    },
    failed: (problem) => {
      editor.mark(problem.message, problem.position, base);
      if (problem.status === 401) {
        sessions.forget();
        toast("Your token has expired. Sign in again.", "error");
        welcome("Your token has expired.");
      }
    },
  });
  runButton.replaceChildren(icon("play"), "Run");
  runButton.addEventListener("click", () => (results.isRunning ? results.cancel() : run()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && results.isRunning) results.cancel();
    // The editor has its own key for this, and says so by preventing the default.
    const wanted = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (wanted && !event.defaultPrevented && document.activeElement?.id !== "ask-text") run();
  });

  const tree = new Tree(
    (text) => editor.insert(text),
    (text) => {
      editor.set(`${text};\n`);
      if (document.body.dataset.drawer === "open") drawer(false);
      run();
    },
  );
  const filter = byId<HTMLInputElement>("filter");
  const draw = () => tree.show(catalog, filter.value);
  filter.addEventListener("input", draw);
  byId("tree").replaceChildren(tree.element);
  draw();
  editor.complete(catalog);

  const refresh = async () => {
    try {
      catalog = await load(current());
      draw();
      editor.complete(catalog);
    } catch (error) {
      toast((error as Error).message, "error");
    }
  };
  byId("refresh").replaceChildren(icon("refresh"));
  byId("refresh").addEventListener("click", () => void refresh().then(() => toast("Refreshed")));
  byId("connect").replaceChildren(icon("plug"), h("span", {}, "Connect"));
  byId("connect").addEventListener("click", () => {
    const tls = location.protocol === "https:";
    const port = tls ? Number(location.port || 443) : site.flight_port;
    void import("./connect").then((m) => m.showConnect(current(), { host: location.hostname, port, tls }));
  });
  byId("leave").replaceChildren(icon("exit"));
  byId("leave").addEventListener("click", () => {
    sessions.forget();
    location.reload();
  });
  byId("menu").replaceChildren(icon("menu"));
  const drawer = (open: boolean) => {
    document.body.dataset.drawer = open ? "open" : "closed";
    byId("menu").setAttribute("aria-expanded", String(open));
    // What slides in cannot have the focus before it has begun to.
    window.setTimeout(() => (open ? filter : byId("menu")).focus(), 60);
  };
  byId("menu").addEventListener("click", () => drawer(document.body.dataset.drawer !== "open"));
  byId("scrim").addEventListener("click", () => drawer(false));
  byId("sidebar").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.body.dataset.drawer === "open") drawer(false);
  });
  askBar(editor, run);
  editor.focus();
}

interface Written {
  sql: string;
  model: string;
  repaired: boolean;
}

function askBar(editor: Editor, run: () => void): void {
  const form = byId<HTMLFormElement>("ask");
  form.hidden = !site.ai || (session?.demo === true && !site.ai_for_demo);
  byId("ask-icon").replaceChildren(icon("spark"));
  const input = byId<HTMLInputElement>("ask-text");
  const button = byId<HTMLButtonElement>("ask-button");
  const note = byId("ask-note");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (question === "" || button.disabled) return;
    button.disabled = true;
    note.textContent = "Writing SQL…";
    note.dataset.kind = "info";
    const headers = { authorization: `Bearer ${session?.token ?? ""}` };
    callJson<Written>("/ai/sql", postJson({ question }, headers))
      .then((written) => {
        editor.set(`-- ${question.replaceAll(/\s+/g, " ")}\n${written.sql.trim()}\n`);
        note.textContent = `Written by ${written.model}${written.repaired ? ", on the second attempt" : ""}, and checked in your worker. Read it before you rely on it.`;
        run();
      })
      .catch((error: unknown) => {
        note.textContent = (error as Error).message;
        note.dataset.kind = "error";
      })
      .finally(() => {
        button.disabled = false;
      });
  });
}

void begin();
