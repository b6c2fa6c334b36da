import { createRequire } from "node:module";
import { styleText } from "node:util";
import type * as PinoPretty from "pino-pretty";
import type { LogDestination } from "./pino.ts";

const load = createRequire(import.meta.url);

/** For people: `[12:00:00.000] INFO: notes http: http server listens  host=127.0.0.1 port=8080`, errors with their stacks below. */
export function prettified(destination: LogDestination, options: { readonly colors: boolean }): LogDestination {
  const toText = prettyText(options);
  return {
    write: (line) => destination.write(toText(line)),
    flush: (done) => (destination.flush ? destination.flush(done) : done()),
    flushSync: () => destination.flushSync?.(),
    get linesLost() {
      return destination.linesLost;
    },
  };
}

/** As Node does: `FORCE_COLOR` before `NO_COLOR` before what the terminal can. */
export function wantsColors(
  terminal: { readonly isTTY?: boolean; hasColors?(): boolean },
  { FORCE_COLOR: force, NO_COLOR: no }: NodeJS.ProcessEnv,
): boolean {
  if (force !== undefined) return force !== "0" && force !== "false";
  if (no !== undefined && no !== "") return false;
  return terminal.isTTY === true && terminal.hasColors?.() !== false;
}

/** Control characters, those that turn or hide text, line separators and lone surrogates: all that could move the cursor or forge a line. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Text as a terminal may see it, on one line. */
export function visible(text: string): string {
  return text.replace(unprintable, escapeCharacter);
}

const short: ReadonlyMap<string, string> = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

function escapeCharacter(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  return short.get(character) ?? (code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`);
}

type Data = Readonly<Record<string, unknown>>;

function prettyText({ colors }: { readonly colors: boolean }): (line: string) => string {
  // Loaded only where it is wanted, and at once: a process that is about to exit cannot wait.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the package says of itself
  const { prettyFactory } = load("pino-pretty") as typeof PinoPretty;
  const toHead = prettyFactory({
    colorize: colors,
    hideObject: true,
    messageKey: "message",
    translateTime: "HH:MM:ss.l",
  });
  const dim = (text: string): string => (colors ? styleText("dim", text, { validateStream: false }) : text);

  return (line) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the logger writes objects only
    const { level, time, service, logger, message, ...rest } = JSON.parse(line) as Data;
    const from = [service, logger].filter((name) => typeof name === "string").join(" ");
    const head = toHead({ level, time, message: visible(`${from}${from === "" ? "" : ": "}${String(message)}`) });
    let beside = "";
    const below: string[] = [];
    for (const [key, value] of Object.entries(rest)) {
      if (isErrorData(value)) below.push(...errorLines(nameText(key), value, 1));
      else beside += ` ${dim(`${nameText(key)}=`)}${valueText(value)}`;
    }
    return `${[head.trimEnd() + (beside === "" ? "" : ` ${beside}`), ...below.map(dim)].join("\n")}\n`;
  };
}

const bare = /^[\w./:@+%*,;-]+$/;

function nameText(name: string): string {
  return bare.test(name) ? name : visible(JSON.stringify(name));
}

function valueText(value: unknown): string {
  return typeof value === "string" && bare.test(value) ? value : visible(JSON.stringify(value));
}

interface ErrorData {
  readonly type: string;
  readonly message: string;
  readonly [key: string]: unknown;
}

/** What the logger has made of an error. */
function isErrorData(value: unknown): value is ErrorData {
  return (
    typeof value === "object" &&
    value !== null &&
    "type" in value &&
    typeof value.type === "string" &&
    "message" in value &&
    typeof value.message === "string"
  );
}

/** All are indented: what an error says can never stand where a line begins. */
function errorLines(
  title: string,
  { type, message, stack, cause, errors, ...rest }: ErrorData,
  depth: number,
): string[] {
  const indent = "    ".repeat(depth);
  const facts = Object.entries(rest).map(([key, value]) => ` ${nameText(key)}=${valueText(value)}`);
  const frames = typeof stack === "string" ? stack.split("\n").filter((line) => /^\s+at /.test(line)) : [];
  const inner = Array.isArray(errors) ? errors.map((error, index) => [`errors[${index}]`, error] as const) : [];
  return [
    `${indent}${title}: ${visible(type)}: ${visible(message)}${facts.length > 0 ? ` ${facts.join("")}` : ""}`,
    ...frames.map((frame) => `${indent}    ${visible(frame.trim())}`),
    ...[["cause", cause] as const, ...inner].flatMap(([name, error]) =>
      isErrorData(error) ? errorLines(name, error, depth + 1) : [],
    ),
  ];
}
