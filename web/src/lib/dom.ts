// Elements from data. Text only ever becomes text: nothing here parses HTML.

type Child = Node | string | number | null | undefined | false;
type Props = Record<string, unknown>;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("aria-")) {
      element.setAttribute(name, String(value));
    } else if (value === false) {
      continue;
    } else if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (name === "class") {
      element.className = String(value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((c) => c !== null && c !== undefined && c !== false).map(asNode));
  return element;
}

function asNode(child: Child): Node | string {
  return child instanceof Node ? child : String(child);
}

export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no element #${id}`);
  return found as T;
}

const SVG = "http://www.w3.org/2000/svg";

const ICONS: Record<string, string> = {
  play: "M5 3.500v9l7.500-4.500z",
  stop: "M4 4h8v8H4z",
  database: "M8 2.500c3 0 5 .9 5 2v7c0 1.100-2 2-5 2s-5-.9-5-2v-7c0-1.100 2-2 5-2zM3 4.500c0 1.100 2 2 5 2s5-.9 5-2M3 8c0 1.100 2 2 5 2s5-.9 5-2",
  folder: "M2 4.500h4l1.500 1.500H14v7H2z",
  table: "M2.500 3h11v10h-11zM2.500 6.300h11M2.500 9.600h11M6.500 6.300V13",
  view: "M1.500 8S4 3.800 8 3.800 14.500 8 14.500 8 12 12.200 8 12.200 1.500 8 1.500 8zM8 9.800a1.800 1.800 0 1 0 0-3.600 1.800 1.800 0 0 0 0 3.600z",
  chevron: "M6 4l4 4-4 4",
  refresh: "M13 8a5 5 0 1 1-1.600-3.700M13 2v3h-3",
  download: "M8 2.500v7M5 7l3 3 3-3M3 13h10",
  chart: "M2.500 2.500v11h11M5 10l2.500-3.500L10 9l3.500-5",
  grid: "M2.500 3h11v10h-11zM2.500 6.300h11M2.500 9.600h11M6.500 3v10",
  plug: "M6 2v3M10 2v3M4.500 5h7v3a3.500 3.500 0 0 1-7 0zM8 11.500V14",
  spark: "M8 2l1.400 4.100L13.500 8l-4.100 1.400L8 14l-1.400-4.600L2.500 8l4.100-1.900z",
  sun: "M8 5.300a2.700 2.700 0 1 0 0 5.400 2.700 2.700 0 0 0 0-5.400zM8 1.500v1.300M8 13.200v1.300M1.500 8h1.300M13.200 8h1.300M3.400 3.400l.9.9M11.700 11.700l.9.9M12.600 3.400l-.9.9M4.300 11.700l-.9.9",
  moon: "M13 9.300A5.500 5.500 0 0 1 6.700 3 5.500 5.500 0 1 0 13 9.300z",
  exit: "M6.500 2.500h-4v11h4M10 5l3 3-3 3M13 8H6",
  copy: "M5.500 5.500h8v8h-8zM10.500 5.500v-3h-8v8h3",
  close: "M4 4l8 8M12 4l-8 8",
  menu: "M2 4h12M2 8h12M2 12h12",
  clock: "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM8 5v3.200l2 1.300",
  alert: "M8 2.500l6 10.800H2zM8 6.500v3.300M8 11.400v.4",
};

/** A decorative icon; the button around it carries the name. */
export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", name === "play" || name === "stop" ? "icon solid" : "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] ?? "");
  svg.append(path);
  return svg;
}

let toastTimer = 0;

/** A short message that is also read aloud. */
export function toast(text: string, kind: "info" | "error" = "info"): void {
  const host = byId("toast");
  host.textContent = text;
  host.dataset.kind = kind;
  host.dataset.shown = "true";
  window.clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => delete host.dataset.shown, kind === "error" ? 8000 : 3500);
}

/** Asks before something that cannot be undone. */
export function confirmed(title: string, text: string, action: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "confirm-title" },
      h("h2", { id: "confirm-title" }, title),
      h("p", {}, text),
      h(
        "form",
        { method: "dialog", class: "dialog-actions" },
        h("button", { value: "no", class: "button" }, "Cancel"),
        h("button", { value: "yes", class: "button danger" }, action),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
