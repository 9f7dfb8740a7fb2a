// Runs a handler written for Lambda's Node.js runtimes: loads it, and speaks the Lambda Runtime API for it.
//
// It behaves as https://github.com/aws/aws-lambda-nodejs-runtime-interface-client does: how a handler is found, what
// ends an invocation, and what an error is called. Response streaming is not there: a WebSocket API has no use for it.

import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import Module, { createRequire, syncBuiltinESMExports } from "node:module";
import path from "node:path";
import { pathToFileURL, urlToHttpOptions } from "node:url";

const environment = process.env;
const [host, port] = environment.AWS_LAMBDA_RUNTIME_API.split(":");
// Of `nodejs20.x`, which the function declares: this machine's own version does not decide.
const declared = Number.parseInt(environment.AWS_EXECUTION_ENV?.replace("AWS_Lambda_nodejs", ""), 10);
// Since Node.js 24 a handler returns its answer and nothing else.
const callbacks = !(declared >= 24);

// --- The Runtime API ---------------------------------------------------------------------------------------------

// Its idle sockets do not keep the event loop alive, which decides when a callback's answer is sent.
const agent = new http.Agent({ keepAlive: true });

function request(method, name, body, headers = {}) {
  const options = { host, port, agent, method, path: `/2018-06-01/runtime/${name}`, headers };
  return new Promise((resolve, reject) => {
    const call = http.request(options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, text: Buffer.concat(chunks).toString() }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end(body);
  });
}

/** Reports an error in the form of Lambda's own runtimes. */
function report(name, error) {
  const { type, message, stack } = describe(error);
  const body = JSON.stringify({ errorType: type, errorMessage: message, trace: stack });
  // Names that are no header values are somebody's choice, too.
  return request("POST", name, body, { "Lambda-Runtime-Function-Error-Type": type.replace(/[^\x20-\x7e]/g, "?") });
}

function describe(error) {
  if (!(error instanceof Error)) {
    return { type: typeof error, message: String(error), stack: [] };
  }
  return { type: error.name || "Error", message: error.message, stack: (error.stack ?? "").split("\n") };
}

/** An error of the runtime, not of the function's code. */
function runtimeError(type, message, cause) {
  const error = new Error(message, { cause });
  error.name = `Runtime.${type}`;
  error.stack = cause?.stack ?? `${error.name}: ${message}`;
  return error;
}

// --- Finding the handler -----------------------------------------------------------------------------------------

/** The function that `folder/file.function` names. */
async function load(root, name) {
  const malformed = (reason) => runtimeError("MalformedHandlerName", reason);
  if (name.includes("..")) throw malformed(`'${name}' is not a valid handler name: it leaves the package`);
  const [, file, nested] = /^([^.]*)\.(.+)$/.exec(path.basename(name)) ?? [];
  if (file === undefined) throw malformed("Bad handler");
  let found;
  try {
    found = await loadModule(path.resolve(root, path.dirname(name), file));
  } catch (error) {
    if (error instanceof SyntaxError) throw runtimeError("UserCodeSyntaxError", `SyntaxError: ${error.message}`, error);
    if (!/MODULE_NOT_FOUND$/.test(error?.code)) throw error;
    throw runtimeError("ImportModuleError", `Error: ${error.message.split("\n")[0]}${hint(error.message)}`, error);
  }
  const handler = nested.split(".").reduce((object, key) => object?.[key], found);
  if (!handler) throw runtimeError("HandlerNotFound", `${name} is undefined or not exported`);
  if (typeof handler !== "function") throw runtimeError("HandlerNotFound", `${name} is not a function`);
  if (!callbacks && handler.length >= 3) {
    const reason = "Lambda has removed callback-based handlers with Node.js 24: return the answer, or a promise of it";
    throw runtimeError("CallbackHandlerDeprecated", reason);
  }
  return handler;
}

/** Loads a file by its name without the extension, in Lambda's order. */
async function loadModule(file) {
  const require = createRequire(file);
  const modules = isModuleScope(path.dirname(file));
  const attempts = [
    [".js", modules],
    [".mjs", true],
    [".cjs", false],
  ];
  if (!fs.statSync(file, { throwIfNoEntry: false })?.isDirectory() && fs.existsSync(file)) return require(file);
  for (const [extension, isModule] of attempts) {
    if (!fs.existsSync(file + extension)) continue;
    return isModule ? await import(pathToFileURL(file + extension)) : require(file + extension);
  }
  // An index.js in a folder of that name, or the error that names what is missing.
  return require(file);
}

/** Returns true if a `.js` file in that folder is an ES module: the nearest package.json says so. */
function isModuleScope(folder) {
  for (; ; folder = path.dirname(folder)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, "package.json"))).type === "module";
    } catch {
      if (folder === path.dirname(folder)) return false;
    }
  }
}

/** Names a module that Lambda brings and this machine lacks. */
function hint(message) {
  const [, name] = /Cannot find (?:module|package) '((?:@aws-sdk\/|@smithy\/|aws-sdk)[^']*)'/.exec(message) ?? [];
  if (name === undefined) return "";
  return `. Lambda brings it; here \`npm install ${name}\` beside the function, or name a node_modules folder in NODE_PATH`;
}

/** On Lambda `import` finds what NODE_PATH names, as `require` does. Node.js by itself does not. */
function importFromNodePath() {
  if (!environment.NODE_PATH) return;
  const hooks = `
    import { createRequire } from "node:module";
    import { pathToFileURL } from "node:url";
    function elsewhere(specifier, context, error) {
      if (error?.code !== "ERR_MODULE_NOT_FOUND" || /^[./]|^[a-z]+:/.test(specifier)) throw error;
      let found;
      try { found = createRequire(context.parentURL).resolve(specifier); } catch { throw error; }
      return { url: pathToFileURL(found).href, shortCircuit: true };
    }
    export function sync(specifier, context, next) {
      try { return next(specifier, context); } catch (error) { return elsewhere(specifier, context, error); }
    }
    export async function resolve(specifier, context, next) {
      try { return await next(specifier, context); } catch (error) { return elsewhere(specifier, context, error); }
    }`;
  const url = `data:text/javascript,${encodeURIComponent(hooks)}`;
  if (Module.registerHooks) return import(url).then(({ sync }) => void Module.registerHooks({ resolve: sync }));
  Module.register?.(url);
}

/**
 * Calls stay on this machine when code has built the host of the API's address by itself, and when an old SDK calls
 * DynamoDB: the SDK's version 2, also as part of a bundle, knows no AWS_ENDPOINT_URL_DYNAMODB.
 */
function stayHere() {
  const { AWS_ENDPOINT_URL_DYNAMODB: tables, AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI: gateway } = environment;
  const places = [
    [/^dynamodb\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$/i, tables],
    [/^local\d{5}\.execute-api\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$/i, gateway],
  ];
  const here = (host) => {
    const place = places.find(([pattern, url]) => url && pattern.test(host));
    return place && new URL(place[1]);
  };
  for (const name of ["request", "get"]) {
    const original = https[name];
    https[name] = function (...args) {
      const url = typeof args[0] === "string" ? new URL(args[0]) : args[0] instanceof URL ? args[0] : undefined;
      const given = url ? args[1] : args[0];
      const options = { ...(url && urlToHttpOptions(url)), ...(typeof given === "object" && given) };
      const target = here(String(options.hostname ?? options.host ?? "").replace(/:\d+$/, ""));
      if (!target) return original.apply(this, args);
      // The signature covers the header Host, so the header stays.
      const { hostname, port } = target;
      const local = { ...options, hostname, host: hostname, port, protocol: "http:", agent: undefined };
      return http[name](local, args.find((argument) => typeof argument === "function"));
    };
  }
  syncBuiltinESMExports();
  const original = globalThis.fetch;
  globalThis.fetch = function (input, ...more) {
    const url = new URL(input?.url ?? input, "http://localhost");
    const target = here(url.hostname);
    if (!target) return original.call(this, input, ...more);
    url.protocol = "http:";
    url.host = target.host;
    return original.call(this, input instanceof Request ? new Request(url, input) : url, ...more);
  };
}

// --- Invocations -------------------------------------------------------------------------------------------------

let initialised = false;
/** The id of the running invocation. */
let current;
/** Called when the event loop has run empty during an invocation. */
let ranEmpty;
// As an event of the loop: promises by themselves would not keep the process.
process.on("beforeExit", () => ranEmpty && setImmediate(ranEmpty));

function nodeJsExit() {
  const reason = "The event loop ran empty before the handler's promise was settled";
  return runtimeError("NodeJsExit", reason);
}

/** Runs the handler and waits until its invocation is over. Rejects with the function's error. */
function run(handler, event, context) {
  if (!callbacks) {
    return new Promise((resolve, reject) => {
      ranEmpty = () => reject(nodeJsExit());
      new Promise((returned) => returned(handler(event, context))).then(resolve, reject);
    });
  }
  return new Promise((resolve, reject) => {
    // Only the first answer counts.
    let answered = false;
    const once = (answer) => (...values) => {
      if (answered) return;
      answered = true;
      ranEmpty = undefined;
      answer(...values);
    };
    const settle = (error, result) => (error === undefined || error === null ? resolve(result) : reject(error));
    const callback = once((error, result) => {
      if (context.callbackWaitsForEmptyEventLoop && (error === undefined || error === null)) {
        ranEmpty = () => resolve(result);
      } else {
        settle(error, result);
      }
    });
    Object.assign(context, {
      callbackWaitsForEmptyEventLoop: true,
      done: once(settle),
      succeed: once((result) => resolve(result)),
      fail: once((error) => reject(error ?? "handled")),
    });
    // A handler that answers in no way has answered null, unless it is async.
    const isAsync = handler.constructor.name === "AsyncFunction";
    ranEmpty = once(() => (isAsync ? reject(nodeJsExit()) : resolve(null)));
    try {
      const returned = handler(event, context, callback);
      // Only a returned promise is an answer. Any other returned value is ignored.
      if (typeof returned?.then === "function") returned.then(context.succeed, context.fail);
    } catch (error) {
      callback(error ?? "handled");
    }
  });
}

function makeContext(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    functionName: environment.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: environment.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: environment.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environment.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environment.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: undefined,
    identity: undefined,
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

function toText(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    throw new Error("Unable to stringify response body");
  }
}

function complain(what, error) {
  console.error(what, error instanceof Error ? error.stack : error);
}

async function invoke(handler, { headers, text }) {
  current = headers["lambda-runtime-aws-request-id"];
  environment._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
  try {
    const answer = toText(await run(handler, JSON.parse(text), makeContext(headers)));
    ranEmpty = undefined;
    await request("POST", `invocation/${current}/response`, answer, { "Content-Type": "application/json" });
  } catch (error) {
    ranEmpty = undefined;
    complain("Invoke Error", error);
    await report(`invocation/${current}/error`, error);
  }
  current = undefined;
}

/** An uncaught error ends the process, and with it the environment. */
function end(what, error, code) {
  complain(what, error);
  ranEmpty = undefined;
  if (initialised && current === undefined) process.exit(code);
  const name = initialised ? `invocation/${current}/error` : "init/error";
  report(name, error).finally(() => process.exit(code));
}
process.on("uncaughtException", (error) => end("Uncaught Exception", error, 129));
process.on("unhandledRejection", (reason) => {
  const message = reason instanceof Error ? reason.toString() : String(reason);
  end("Unhandled Rejection", runtimeError("UnhandledPromiseRejection", message, reason instanceof Error ? reason : undefined), 128);
});

async function main() {
  let handler;
  try {
    await importFromNodePath();
    stayHere();
    handler = await load(environment.LAMBDA_TASK_ROOT, environment._HANDLER);
  } catch (error) {
    complain("Init Error", error);
    await report("init/error", error);
    process.exit(1);
  }
  initialised = true;
  for (;;) await invoke(handler, await request("GET", "invocation/next"));
}
main();
