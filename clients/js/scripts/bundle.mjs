// Bundles the package into one minified file for pages without a build step, and measures what an application ships.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const common = { bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "none" };

if (process.argv[1]?.endsWith("bundle.mjs")) {
  const contents = ["index", "store", "direct"].map((name) => `export * from "./dist/${name}.js";`).join("\n");
  await build({ ...common, stdin: { contents, resolveDir: "." }, outfile: "dist/roomchat.js" });
}

/** Returns the gzipped size of a module in bytes, without the modules named `external`. */
export async function size(file, external = []) {
  const bundle = await build({ ...common, entryPoints: [file], external, write: false });
  return gzipSync(bundle.outputFiles[0].contents, { level: 9 }).length;
}
