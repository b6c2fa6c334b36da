import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { TransportError } from "../errors.ts";
import { readBody } from "./body.ts";
import { HttpRefusal } from "./refusal.ts";

/** Settings of the layer `limits` for JSON. */
export const jsonSettings = {
  maxJsonDepth: z
    .int()
    .min(1)
    .max(10_000)
    .default(64)
    .meta({ description: "How deep objects and arrays of a JSON body may stand one inside the other." }),
  maxJsonKeys: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .meta({ description: "Most members of one object of a JSON body." }),
};

export interface JsonLimits {
  readonly maxJsonDepth: number;
  readonly maxJsonKeys: number;
}

/**
 * Reads JSON bodies as fastify does, `__proto__` and `constructor.prototype` refused, under limits: what comes after it, a
 * validator or a log, walks into what is nested, and an object with very many members is slow to make and to look at.
 * A parser for JSON that a plugin adds takes the place of this one, as it would of fastify's own.
 */
export function readJson(app: FastifyInstance, limits: JsonLimits): void {
  const parse = app.getDefaultJsonParser("error", "error");
  const read = (request: FastifyRequest, text: string, done: (error: Error | null, body?: unknown) => void): void => {
    const fault = faultOf(text, limits);
    if (fault !== undefined) {
      done(new TransportError("ERR_REQUEST_BODY", "invalid_argument", fault));
      return;
    }
    void parse(request, text, (error, body) => done(error && hasCoding(request) ? compressed() : error, body));
  };
  app.addContentTypeParser("application/json", (request, payload, done) =>
    readBody(request, payload, (error, body) => {
      if (error || body === undefined) done(error);
      else read(request, body.toString(), done);
    }),
  );
  giveWay(app);
}

function hasCoding({ headers }: FastifyRequest): boolean {
  const coding = headers["content-encoding"]?.trim().toLowerCase();
  return coding !== undefined && coding !== "" && coding !== "identity";
}

function compressed(): HttpRefusal {
  const message = "this server reads no compressed bodies; send it as it is, without content-encoding";
  const refusal = { code: "ERR_REQUEST_MEDIA_TYPE", httpStatus: 415, message } as const;
  return new HttpRefusal(refusal);
}

/**
 * What is wrong with JSON by its brackets and commas alone, before it is parsed. Text that is no JSON passes, or is refused for
 * what it would be; either way it is refused.
 */
export function faultOf(text: string, { maxJsonDepth, maxJsonKeys }: JsonLimits): string | undefined {
  // each level has two brackets, and each member four characters at least
  if (text.length <= 2 * maxJsonDepth && text.length <= 4 * maxJsonKeys) return undefined;
  /** Members so far of each object that is open. */
  const members: number[] = [];
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case quote:
        at = endOfString(text, at);
        break;
      case openBrace:
      case openBracket:
        members[depth++] = 0;
        if (depth > maxJsonDepth) return `the body is nested more than ${maxJsonDepth} deep`;
        break;
      case closeBrace:
      case closeBracket:
        if (depth > 0) depth--;
        break;
      case colon: {
        const count = (members[depth - 1] ?? 0) + 1;
        if (count > maxJsonKeys) return `an object in the body has more than ${maxJsonKeys} members`;
        members[depth - 1] = count;
        break;
      }
    }
  }
  return undefined;
}

const [quote, colon, openBracket, backslash, closeBracket, openBrace, closeBrace] = [
  34, 58, 91, 92, 93, 123, 125,
] as const;

/** Where the string that begins at `start` has its closing quote; the end of the text where it has none. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end >= 0) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === backslash) escapes++;
    if (escapes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return text.length;
}

/** Fastify lets a plugin add a parser for JSON where its own is; ours gives way likewise, once in each scope and those inside it. */
function giveWay(app: FastifyInstance): void {
  const { addContentTypeParser } = app;
  const given = new WeakSet<object>();
  Reflect.set(app, "addContentTypeParser", function add(this: FastifyInstance, ...args: unknown[]): unknown {
    const types: unknown[] = Array.isArray(args[0]) ? args[0] : [args[0]];
    const isGiven = scopesOf(this).some((scope) => given.has(scope));
    if (types.includes("application/json") && !isGiven) {
      this.removeContentTypeParser("application/json");
      given.add(this);
    }
    const scope: unknown = Reflect.apply(addContentTypeParser, this, args);
    return scope;
  });
}

/** A scope and those around it: fastify makes the inner from the outer by its prototype. */
function scopesOf(scope: object): object[] {
  const scopes: object[] = [];
  for (let each: unknown = scope; typeof each === "object" && each !== null; each = Object.getPrototypeOf(each))
    scopes.push(each);
  return scopes;
}
