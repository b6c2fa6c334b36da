import { createRequire } from "node:module";
import type { FastifyInstance, FastifyServerOptions } from "fastify";

type Compilers = NonNullable<NonNullable<FastifyServerOptions["schemaController"]>["compilersFactory"]>;

/**
 * Has fastify load its compilers of JSON Schema with the first route that has such a schema: they are a third of all that it
 * loads, and a route without schemas, or with Standard Schemas for its requests, needs none.
 */
export function loadCompilersLate(app: Pick<FastifyInstance, "setSchemaController">): void {
  app.setSchemaController({
    compilersFactory: {
      buildValidator: lazily("@fastify/ajv-compiler"),
      buildSerializer: lazily("@fastify/fast-json-stringify-compiler"),
    },
  });
}

/**
 * For the options of an app that {@link loadCompilersLate} is called on: something is there, so that fastify loads nothing, and
 * it is no function. A function would count as a validator of the app's own, which is given the schemas of headers as they are
 * written, `X-Kind` unlike `x-kind`.
 */
export const lateCompilers: Compilers = Object.defineProperties(
  {},
  {
    buildValidator: { enumerable: true, value: "late" },
    buildSerializer: { enumerable: true, value: "late" },
  },
);

function lazily(name: "@fastify/ajv-compiler"): NonNullable<Compilers["buildValidator"]>;
function lazily(name: "@fastify/fast-json-stringify-compiler"): NonNullable<Compilers["buildSerializer"]>;
function lazily(name: string): (...args: never[]) => unknown {
  let build: unknown;
  return (...args) => {
    build ??= callOf(load(name), []);
    return callOf(build, args);
  };
}

/** As fastify loads it: the copy that it depends on, wherever that is installed. */
function load(name: string): unknown {
  const requireForFastify = createRequire(createRequire(import.meta.url).resolve("fastify"));
  return requireForFastify(name);
}

function callOf(value: unknown, args: readonly unknown[]): unknown {
  if (typeof value !== "function") throw new TypeError("fastify's compilers of JSON Schema are no functions any more");
  return Reflect.apply(value, undefined, args);
}
