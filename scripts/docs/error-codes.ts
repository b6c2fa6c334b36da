// The error codes of the packages, and the statuses that the code gives them.
import { isStatus } from "@plinth/kernel";
import { fromHttpStatus, toHttpStatus } from "@plinth/transport";
import type { Token } from "../layers/tokens.ts";
import { type Expression, type Source, endOfExpression, itemsAt, standsAt } from "./sources.ts";

export interface ErrorCode {
  /** The package that has it in an `…ErrorCode` type, or else the one that gives it to an error. */
  readonly owner: string;
  readonly code: string;
  /** Canonical statuses, each with its HTTP status where that is not the usual one: `resource_exhausted 413`. Sorted. */
  readonly statuses: readonly string[];
  /** Where it is first given to an error, or else named. */
  readonly place: string;
}

const pattern = /^ERR_[A-Z0-9_]+$/;

/**
 * Every code with every package that it belongs to. One that is named but never given to an error has no statuses.
 * @throws Error with the place of an error whose status cannot be read.
 */
export function findErrorCodes(sources: readonly Source[]): ErrorCode[] {
  const classes = findClasses(sources);
  const raised = sources.flatMap((source) => [
    ...findCalls(source, classes),
    ...findMade(source),
    ...findObjects(source),
  ]);
  const declared = sources.flatMap(findDeclared);
  const given = without(raised, declared);
  const named = without(sources.flatMap(findNamed), [...declared, ...given]);
  const bySection = Map.groupBy([...declared, ...given, ...named], ({ owner, code }) => `${owner} ${code}`);
  const firsts = [...bySection.values()].flatMap((sites) => sites.slice(0, 1));
  return firsts.map(({ owner, code, place }) => {
    const sites = raised.filter((site) => site.code === code);
    const nearest = sites.find((site) => site.owner === owner) ?? sites[0];
    const statuses = new Set(sites.flatMap((site) => site.statuses));
    return { owner, code, place: nearest?.place ?? place, statuses: [...statuses].toSorted() };
  });
}

function without(sites: readonly ErrorCode[], others: readonly ErrorCode[]): ErrorCode[] {
  const known = new Set(others.map(({ code }) => code));
  return sites.filter(({ code }) => !known.has(code));
}

/** The class names of all errors of ours, each with the status that its constructor gives to every code, if it gives one. */
type Classes = ReadonlyMap<string, string | undefined>;

function findClasses(sources: readonly Source[]): Classes {
  const found = sources.flatMap(({ tokens }) => {
    const starts = [...tokens.keys()].filter(
      (at) => standsAt(tokens, at, "class") && standsAt(tokens, at + 2, "extends"),
    );
    return starts.map((start, at) => {
      const body = tokens.slice(start, starts[at + 1]);
      const call = body.findIndex((_, at) => standsAt(body, at, "super", "("));
      const status = call < 0 ? undefined : itemsAt(body, call + 1)[1];
      return { name: body[1]?.value ?? "", base: body[3]?.value ?? "", status: statusesIn(status ?? [])[0] };
    });
  });
  const classes = new Map<string, string | undefined>([["AppError", undefined]]);
  for (let known = 0; known < classes.size;) {
    known = classes.size;
    for (const { name, base, status } of found) if (classes.has(base)) classes.set(name, status ?? classes.get(base));
  }
  return classes;
}

/** `type DatabaseErrorCode = "ERR_…" | "ERR_…";` */
function findDeclared({ owner, tokens, placeOf }: Source): ErrorCode[] {
  return sitesOf(tokens, (index) => {
    if (!tokens[index]?.value.endsWith("ErrorCode") || !standsAt(tokens, index - 1, "type")) return [];
    if (!standsAt(tokens, index + 1, "=")) return [];
    const codes = codesIn(tokens.slice(index, endOfExpression(tokens, index + 2)));
    return codes.map((code) => ({ owner, code, place: placeOf(index), statuses: [] }));
  });
}

/** `new DatabaseError("ERR_…", "unavailable", …)` and `super("ERR_…", "unavailable", …)`. */
function findCalls({ owner, tokens, placeOf }: Source, classes: Classes): ErrorCode[] {
  return sitesOf(tokens, (index) => {
    const name = tokens[index]?.value ?? "";
    const isCall = name === "super" || (standsAt(tokens, index - 1, "new") && classes.has(name));
    if (!isCall || !standsAt(tokens, index + 1, "(")) return [];
    const [first = [], second = []] = itemsAt(tokens, index + 1);
    const codes = standsAt(first, 0, "{") ? [] : codesIn(first); // `findObjects` reads those
    if (codes.length === 0) return [];
    const fixed = classes.get(name);
    const statuses = fixed === undefined ? resolve(second, tokens.slice(0, index)) : [fixed];
    if (statuses.length > 0) return codes.map((code) => ({ owner, code, place: placeOf(index), statuses }));
    throw new Error(
      `${placeOf(index)}: the status of ${codes.join()} cannot be read; write it out, or in a const before it`,
    );
  });
}

/** `AppError.notFound("ERR_…", …)`. */
function findMade({ owner, tokens, placeOf }: Source): ErrorCode[] {
  return sitesOf(tokens, (index) => {
    if (!standsAt(tokens, index, "AppError", ".") || !standsAt(tokens, index + 3, "(")) return [];
    const status = tokens[index + 2]?.value.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (!isStatus(status)) return [];
    const [first = []] = itemsAt(tokens, index + 3);
    return codesIn(first).map((code) => ({ owner, code, place: placeOf(index), statuses: [status] }));
  });
}

/** `{ code: "ERR_…", status: "unavailable" }`, `{ code: "ERR_…", status: inner.status }` and `{ code: "ERR_…", httpStatus: 413 }`, which errors are made of elsewhere. */
function findObjects({ owner, tokens, placeOf }: Source): ErrorCode[] {
  return sitesOf(tokens, (index) => {
    if (!standsAt(tokens, index, "code", ":")) return [];
    const end = endOfExpression(tokens, index + 2);
    const value = tokens.slice(end + 3, endOfExpression(tokens, end + 3));
    let statuses: string[] = [];
    if (standsAt(tokens, end, ",", "status", ":")) statuses = resolve(value, tokens.slice(0, index));
    if (statuses.length === 0 && standsAt(value, 1, ".", "status")) statuses = ["others"];
    if (standsAt(tokens, end, ",", "httpStatus", ":")) statuses = [ofHttp(value)];
    if (statuses.length === 0) return [];
    return codesIn(tokens.slice(index, end)).map((code) => ({ owner, code, place: placeOf(index), statuses }));
  });
}

/** Wherever else a code is spelled, unless something is merely compared with it. */
function findNamed({ owner, tokens, placeOf }: Source): ErrorCode[] {
  return sitesOf(tokens, (index) => {
    const isCompared = standsAt(tokens, index - 1, "case") || standsAt(tokens, index - 2, "=", "=");
    const codes = isCompared ? [] : codesIn(tokens.slice(index, index + 1));
    return codes.map((code) => ({ owner, code, place: placeOf(index), statuses: [] }));
  });
}

function sitesOf(tokens: readonly Token[], find: (index: number) => ErrorCode[]): ErrorCode[] {
  return [...tokens.keys()].flatMap(find);
}

function codesIn(expression: Expression): string[] {
  return textsIn(expression).filter((text) => pattern.test(text));
}

function statusesIn(expression: Expression): string[] {
  return textsIn(expression).filter(isStatus);
}

/** Its strings, but not those that something is compared with. */
function textsIn(expression: Expression): string[] {
  const texts = expression.filter(({ kind }, at) => kind === "text" && !standsAt(expression, at - 2, "=", "="));
  return texts.map(({ value }) => value);
}

/** The statuses that an expression can be: those in it, or in the last const of its name. */
function resolve(expression: Expression, before: readonly Token[]): string[] {
  const [first, ...rest] = expression;
  if (first?.kind !== "name" || rest.length > 0) return statusesIn(expression);
  const at = before.findLastIndex((_, at) => standsAt(before, at, "const", first.value, "="));
  return at < 0 ? [] : statusesIn(before.slice(at, endOfExpression(before, at + 3)));
}

/** `others` where it is that of something else, known only when it happens. */
function ofHttp(expression: Expression): string {
  const http = Number(expression[0]?.value);
  if (expression.length !== 1 || !Number.isInteger(http)) return "others";
  const status = fromHttpStatus(http);
  return toHttpStatus(status) === http ? status : `${status} ${http}`;
}
