/** The schemas in clients/schema, without further fields: what is not described is a mistake. */

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { repository, type Fields, type Json } from "./player.js";

/** Forbids further fields in each object that names its fields. */
function strict(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const inside = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  return inside["type"] === "object" && "properties" in inside ? { ...inside, additionalProperties: false } : inside;
}

function compiled(name: string): ValidateFunction {
  const text = readFileSync(join(repository, `clients/schema/${name}.schema.json`), "utf8");
  return new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false }).compile(strict(JSON.parse(text) as Json) as Fields);
}

const service = compiled("service");
const client = compiled("client");

/** Returns what is wrong with a frame of the service, or of a client. */
export function wrong(frame: Json, from: "service" | "client"): string | undefined {
  const validate = from === "service" ? service : client;
  return validate(frame) ? undefined : `${JSON.stringify(frame)}: ${JSON.stringify(validate.errors?.at(-1))}`;
}
