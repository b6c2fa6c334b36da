import { parseArgs } from "node:util";
import { didYouMean, graphFormats, type RunCommand } from "@plinth/kernel";
import { type GatewayQuestion, toGatewayQuestion } from "./gateway-arguments.ts";
import { actionOf, type NewMigration, optionsOfAction, toMigrate, toNewMigration } from "./migrate-arguments.ts";
import { type ServicesQuestion, toServicesQuestion } from "./services-arguments.ts";
import { type Given, oneOf, UsageError } from "./usage.ts";

/** What the command line was told to do. */
export type Invocation =
  | { readonly kind: "help" | "version" }
  | NewMigration
  | ServicesQuestion
  | GatewayQuestion
  | {
      readonly kind: "ask";
      readonly main: string;
      /** For the program: what stands after `--`. */
      readonly programArgs: readonly string[];
      readonly command: RunCommand;
      readonly limitMs: number;
    };

/** A start may take 60 s, and taking it back 25 s; a change of a large table hours. */
const defaultLimitMs = { plain: 60_000, start: 120_000, migrate: 86_400_000 };

export const usage = `plinth shows what a Plinth app is made of, what it is configured with and what it serves, and migrates its databases,
without running it; it shows what is registered, and checks and explains what a gateway is told to do.

usage:
  plinth graph MAIN [--format tree|dot|mermaid|json] [--start] [--timeout SECONDS] [-- ARGUMENTS]
      the providers, what each needs, and every fault of the graph
      --format    tree for a terminal (default), dot for Graphviz, mermaid for Markdown, json for programs
      --start     start the app, show states and timings once it is ready or has failed, and stop it

  plinth config MAIN [--json | --schema] [--timeout SECONDS] [-- ARGUMENTS]
      each effective setting and where it comes from; secrets as ***
      --json      for programs
      --schema    the JSON Schema of all sections instead, for editors and checks

  plinth openapi MAIN [--app NAME] [--timeout SECONDS] [-- ARGUMENTS]
      the OpenAPI 3.1 document of the HTTP routes; nothing is started for it, and no database or network is used
      --app       of this app alone, where MAIN runs several

  plinth migrate up MAIN [--to NAME] [--dry-run] [--database NAME] [--app NAME] [--json] [--timeout SECONDS] [-- ARGUMENTS]
  plinth migrate down MAIN [--steps NUMBER | --to NAME] ...
  plinth migrate status MAIN ...
      applies the migrations that are pending, takes back the last one, or tells which there are
      --to        up: the last one to apply; down: the last one to stay
      --steps     how many are taken back, 1 by default
      --dry-run   show the statements, run in a transaction that is rolled back
      --database  of this database alone, where the app has several; the first is "main"

  plinth migrate new WORDS [--folder FOLDER] [--ts]
      writes an empty migration with the next number into FOLDER, which is ./migrations by default
      --ts        in TypeScript in place of SQL

  plinth services [SERVICE] [--consul ADDRESS] [--json] [--timeout SECONDS]
      what is registered in Consul: each instance with its health, version, zone and address, and how old that is
      --consul    the agent; by default as PLINTH_CONSUL_ADDR and Consul's own CONSUL_HTTP_ADDR say, else 127.0.0.1:8500
      --json      for programs

  plinth gateway check FILE [--json]
      the faults of a gateway's document, all at once with their lines, without a gateway or a network; and a proof that matching,
      authorising, rewriting and forwarding agree on the path of every route, however a request spells it

  plinth gateway explain FILE METHOD URL [-H 'NAME: VALUE']... [--from ADDRESS] [--consul ADDRESS] [--json]
      what a gateway with this document would do with a request: which route wins and why others lose, what a token would meet but
      for its signature, limits, and the path and headers that the service gets
      --from      the client's address, 127.0.0.1 by default
      --consul    the agent that is asked which instances the service has; by default none is

  plinth --help
  plinth --version

MAIN is the file that calls app.run() or runApps(); ARGUMENTS are passed to it. It is loaded, but its apps do not run.
--timeout is how long it may take: 60 seconds by default, 120 with --start, a day with migrate.
Tokens for Consul come from PLINTH_CONSUL_TOKEN or Consul's own variables, and are no options: others could read them.
Exit codes: 0 as asked, 1 faults in the app or no answer from it, 2 faults in the command line.
`;

const options = {
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "v" },
  format: { type: "string" },
  start: { type: "boolean" },
  json: { type: "boolean" },
  schema: { type: "boolean" },
  app: { type: "string" },
  timeout: { type: "string" },
  to: { type: "string" },
  steps: { type: "string" },
  "dry-run": { type: "boolean" },
  database: { type: "string" },
  folder: { type: "string" },
  ts: { type: "boolean" },
  consul: { type: "string" },
  header: { type: "string", short: "H" },
  from: { type: "string" },
} as const;
type OptionName = keyof typeof options;

const commands = {
  graph: ["format", "start", "timeout"],
  config: ["json", "schema", "timeout"],
  openapi: ["app", "timeout"],
  migrate: ["to", "steps", "dry-run", "database", "app", "json", "timeout", "folder", "ts"],
  services: ["consul", "json", "timeout"],
  gateway: ["json", "header", "from", "consul", "timeout"],
} as const satisfies Readonly<Record<string, readonly OptionName[]>>;
type CommandName = keyof typeof commands;

/**
 * Reads the command line, without the program and the file at its beginning.
 * @throws {@link UsageError}
 */
export function parseArguments(args: readonly string[]): Invocation {
  const end = args.indexOf("--");
  const own = end < 0 ? [...args] : args.slice(0, end);
  const { tokens } = parseArgs({ args: own, options, strict: false, allowPositionals: true, tokens: true });
  const given = new Map<string, string | undefined>();
  const positionals: string[] = [];
  const headers: string[] = [];
  const [word] = tokens.flatMap((token) => (token.kind === "positional" ? [token.value] : []));
  const command = word === undefined ? undefined : toCommand(word);
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    else if (token.kind === "option") {
      given.set(toOption(token.rawName, token.name, command), valueOf(token));
      if (token.name === "header") headers.push(token.value ?? "");
    }
  }
  if (given.has("help")) return { kind: "help" };
  if (given.has("version")) return { kind: "version" };
  if (command === undefined) throw new UsageError(`there is no command; ${oneOf("take", Object.keys(commands))}`);
  if (command === "services") return toServicesQuestion(positionals.slice(1), given, toLimitMs(command, given));
  if (command === "gateway")
    return toGatewayQuestion(positionals.slice(1), given, { headers, limitMs: toLimitMs(command, given) });
  const action = command === "migrate" ? actionOf(positionals.splice(1, 1)[0]) : undefined;
  if (action !== undefined) requireOptionsOf(action, given);
  if (action === "new") return toNewMigration(positionals.slice(1), given);
  const what = action === undefined ? command : `${command} ${action}`;
  const [, main, ...more] = positionals;
  if (main === undefined || main === "") {
    throw new UsageError(`plinth ${what} needs MAIN, the file that calls app.run() or runApps()`);
  }
  if (more.length > 0) {
    throw new UsageError(`"${more[0]}" is one argument too many; what is for ${main} goes after --`);
  }
  return {
    kind: "ask",
    main,
    programArgs: end < 0 ? [] : args.slice(end + 1),
    command: action === undefined ? toRunCommand(command, given) : toMigrate(action, given),
    limitMs: toLimitMs(command, given),
  };
}

function toCommand(word: string): CommandName {
  const names = Object.keys(commands);
  if (isCommand(word)) return word;
  throw new UsageError(`there is no command "${word}"${didYouMean(word, names) || `; ${oneOf("take", names)}`}`);
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(commands, word);
}

/** Of an action: those of the others are none. */
function requireOptionsOf(action: keyof typeof optionsOfAction, given: Given): void {
  const allowed = new Set<string>(["help", "version", ...optionsOfAction[action]]);
  const strange = [...given.keys()].find((name) => !allowed.has(name));
  if (strange !== undefined) throw new UsageError(`"--${strange}" is no option of plinth migrate ${action}`);
}

function toOption(rawName: string, name: string, command: CommandName | undefined): OptionName {
  const allowed: readonly string[] = ["help", "version", ...(command ? commands[command] : Object.keys(options))];
  if (allowed.includes(name) && isOption(name)) return name;
  const where = command === undefined ? "" : ` of plinth ${command}`;
  const hint = didYouMean(name, allowed).replace(/"(.*)"/, '"--$1"');
  throw new UsageError(`"${rawName}" is no option${where}${hint || `; for the program it goes after --`}`);
}

function isOption(name: string): name is OptionName {
  return Object.hasOwn(options, name);
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
}

function valueOf({ name, rawName, value }: OptionToken): string | undefined {
  if (isOption(name) && options[name].type === "boolean" && value !== undefined) {
    throw new UsageError(`${rawName} takes no value, and was given "${value}"`);
  }
  return value;
}

function toRunCommand(command: CommandName, given: Given): RunCommand {
  switch (command) {
    case "graph":
      return toGraph(given);
    case "config":
      return toConfig(given);
    default:
      return toOpenApi(given);
  }
}

function toOpenApi(given: Given): RunCommand {
  const app = given.get("app");
  if (app === "") throw new UsageError("--app takes the name of an app");
  return { command: "document", name: "openapi", format: "json", answer: "ipc", ...(app === undefined ? {} : { app }) };
}

function toGraph(given: Given): RunCommand {
  const name = given.get("format") ?? "";
  const format = given.has("format") ? graphFormats.find((one) => one === name) : "tree";
  if (format === undefined) {
    throw new UsageError(
      `--format "${name}" is none${didYouMean(name, graphFormats) || `; ${oneOf("take", graphFormats)}`}`,
    );
  }
  return { command: "graph", format, start: given.has("start"), answer: "ipc" };
}

function toConfig(given: Given): RunCommand {
  if (given.has("json") && given.has("schema")) throw new UsageError("take --json or --schema, not both");
  const format = given.has("json") ? "json" : given.has("schema") ? "schema" : "text";
  return { command: "config", format, answer: "ipc" };
}

function toLimitMs(command: CommandName, given: Given): number {
  if (!given.has("timeout")) {
    return command === "migrate"
      ? defaultLimitMs.migrate
      : given.has("start")
        ? defaultLimitMs.start
        : defaultLimitMs.plain;
  }
  const text = given.get("timeout") ?? "";
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds > 0 && seconds <= 86_400) return seconds * 1_000;
  throw new UsageError(`--timeout takes seconds, above 0 and up to 86400, and was given "${text}"`);
}
