// Bundles the package, and measures what an application ships of it.
import { rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const common = { bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "none" };

if (process.argv[1]?.endsWith("bundle.mjs")) {
  // Members whose names begin with `_` are shared by the modules of the package and by nobody else: their names are
  // shortened. No frame, option or stored value has such a name.
  const mangled = { ...common, mangleProps: /^_/ };
  // One file for applications with a bundler, and one with everything for pages without a build step.
  await build({ ...mangled, entryPoints: ["dist/index.js"], outfile: "dist/index.js", allowOverwrite: true });
  const contents = ["index", "store", "direct", "presence"].map((name) => `export * from "./dist/${name}.js";`).join("\n");
  await build({ ...common, stdin: { contents, resolveDir: "." }, outfile: "dist/roomchat.js" });
  for (const name of ["core", "chat", "room", "log", "retry", "wire"]) rmSync(`dist/${name}.js`);
}

/** Returns the gzipped size of a module in bytes, without the modules named `external`. */
export async function size(file, external = []) {
  const bundle = await build({ ...common, entryPoints: [file], external, write: false });
  return gzipSync(bundle.outputFiles[0].contents, { level: 9 }).length;
}
