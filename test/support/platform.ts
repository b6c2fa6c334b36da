// The demo platform as a person starts it, on ports that nothing else uses.
import { join } from "node:path";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { asRecord } from "./json.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";

const repository = join(import.meta.dirname, "../..");
const entry = join(repository, "examples/platform/main.ts");
const readyText = "The platform is ready.";
const defaultReadyLimitMs = 45_000;

export interface PlatformPorts {
  readonly gateway: number;
  readonly ops: number;
  readonly issuer: number;
}

export interface PlatformOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** The command and its folder. Default: the platform of this repository, by its own Node, without npm. */
  readonly start?: { readonly command: string; readonly args: readonly string[]; readonly folder: string };
  /** Default 45_000. */
  readonly readyLimitMs?: number;
}

export interface Platform extends Program {
  readonly ports: PlatformPorts;
  /** Of the gateway's traffic. */
  readonly url: string;
  /** What it prints when all is ready: from "The platform is ready." on. */
  table(): string;
  /** The URL in the table's line for `what`. */
  addressOf(what: string): string;
  /** Its log so far, each line an object. */
  log(): Record<string, unknown>[];
}

export async function findPlatformPorts(): Promise<PlatformPorts> {
  const [gateway = 0, ops = 0, issuer = 0] = await findFreePorts(3);
  return { gateway, ops, issuer };
}

export function portVariables({ gateway, ops, issuer }: PlatformPorts): Record<string, string> {
  return {
    PLINTH_GATEWAY_PORT: String(gateway),
    PLINTH_OPS_PORT: String(ops),
    PLINTH_ISSUER_PORT: String(issuer),
  };
}

/** What runs the platform, or with `--app NAME` one app of it, without npm around it. */
export function platformCommand(...args: readonly string[]): Required<PlatformOptions>["start"] {
  return { command: process.execPath, args: ["--conditions=plinth-source", entry, ...args], folder: repository };
}

/** Starts the platform; ready when it resolves. */
export async function startPlatform({
  environment = {},
  start = platformCommand(),
  readyLimitMs = defaultReadyLimitMs,
}: PlatformOptions = {}): Promise<Platform> {
  const ports = await findPlatformPorts();
  const program = await startProgram(start.command, start.args, {
    folder: start.folder,
    environment: { ...userEnvironment(), ...portVariables(ports), ...environment },
  });
  try {
    await program.untilPrinted(readyText, readyLimitMs);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  const table = (): string => tableOf(program.stdout());
  return {
    ...program,
    ports,
    url: `http://127.0.0.1:${ports.gateway}`,
    table,
    addressOf: (what) => addressIn(table(), what),
    log: () => logOf(program.stdout()),
  };
}

export function tableOf(stdout: string): string {
  const from = stdout.indexOf(readyText);
  if (from < 0) throw new Error(`no table in:\n${stdout.slice(-2_000)}`);
  const nextLogLine = stdout.indexOf("\n{", from);
  return stdout.slice(from, nextLogLine < 0 ? undefined : nextLogLine);
}

export function addressIn(table: string, what: string): string {
  for (const line of table.split("\n")) {
    const [name, url] = line.trim().split(/ {2,}/);
    if (name === what && url !== undefined) return url;
  }
  throw new Error(`no line for "${what}" in:\n${table}`);
}

export function logOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => asRecord(JSON.parse(line)));
}
