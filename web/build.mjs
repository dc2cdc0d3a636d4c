// Bundles both pages: `node build.mjs [FOLDER]`. What it writes is complete or not there at all.
//
// Names carry a hash of the content, so browsers may keep everything but the pages themselves.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const target = resolve(process.argv[2] ?? join(here, "../pondflight/web/static"));
const fresh = `${target}.new-${process.pid}`;
const PAGES = { index: "workbench", console: "console" };

await rm(fresh, { recursive: true, force: true });
await mkdir(fresh, { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: Object.values(PAGES).flatMap((name) => [
    { in: `src/${name}/main.ts`, out: name },
    { in: `src/${name}/page.css`, out: name },
  ]),
  outdir: join(fresh, "assets"),
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "linked",
  metafile: true,
  logLevel: "warning",
  loader: { ".svg": "text" },
});

const outputs = Object.entries(result.metafile.outputs).map(([path, output]) => ({
  name: relative(fresh, resolve(here, path)),
  entry: output.entryPoint,
}));
const find = (entry) => outputs.find((output) => output.entry === entry).name;

for (const [page, name] of Object.entries(PAGES)) {
  const html = await readFile(join(here, `src/${name}/page.html`), "utf8");
  const filled = html
    .replaceAll("%SCRIPT%", `/${find(`src/${name}/main.ts`)}`)
    .replaceAll("%STYLE%", `/${find(`src/${name}/page.css`)}`);
  await writeFile(join(fresh, `${page}.html`), filled);
}
await writeFile(join(fresh, "assets/pond.svg"), await readFile(join(here, "src/pond.svg")));

const folder = join(fresh, "assets");
for (const name of await readdir(folder)) {
  const data = await readFile(join(folder, name));
  await writeFile(join(folder, `${name}.gz`), await promisify(gzip)(data, { level: 9 }));
}

await rm(target, { recursive: true, force: true });
await rename(fresh, target);
console.log(`${basename(target)}: ${outputs.length} files`);
