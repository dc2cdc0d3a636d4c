// The last minutes of one figure, and a small chart of them.

const KEPT = 80;
const FEWEST = 20;
const SVG = "http://www.w3.org/2000/svg";

export class History {
  readonly values: number[] = [];

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }
}

/** ``atLeast``: the scale reaches at least that far, so that noise does not look like a storm. */
export function spark(values: number[], kind: string, atLeast: number): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `spark ${kind}`);
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(...values, atLeast * 0.25, 1e-9);
  const step = 100 / (Math.min(KEPT, Math.max(FEWEST, values.length)) - 1);
  const start = 100 - (values.length - 1) * step;
  const points = values.map((v, i) => `${(start + i * step).toFixed(1)} ${(23 - (v / top) * 21).toFixed(1)}`);
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", `M${points.join("L")}`);
  const under = document.createElementNS(SVG, "path");
  under.setAttribute("class", "under");
  under.setAttribute("d", `M${start.toFixed(1)} 24L${points.join("L")}L100 24z`);
  svg.append(under, line);
  return svg;
}
