// Serves examples/web, and the library beside it as roomchat.js, on this machine only.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const client = join(dirname(fileURLToPath(import.meta.url)), "..");
const page = join(client, "../../examples/web");
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };

/** Starts the server. `more` maps paths to further files. Resolves to the server, which listens on `port`. */
export function serve(port, more = {}) {
  const files = { "/": join(page, "index.html"), "/roomchat.js": join(client, "dist/roomchat.js"), ...more };
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURI(new URL(request.url, "http://x").pathname));
    const file = files[path] ?? join(page, path);
    try {
      const body = await readFile(file);
      response.writeHead(200, { "content-type": `${TYPES[extname(file)] ?? "text/plain"}; charset=utf-8` }).end(body);
    } catch {
      response.writeHead(404).end("not found");
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await serve(Number(process.argv[2])).catch((error) => {
    console.error(`cannot listen on port ${process.argv[2]}: ${error.message}. Another one: scripts/web.sh --port N`);
    process.exit(2);
  });
}
