import { messageOf } from "../errors/app-error.ts";
import { type ConfigEntry, renderExplanation } from "../config/explain.ts";
import { type CommandAnswer, joinTexts, type RunCommand } from "./command-protocol.ts";
import type { AppDescription } from "./description.ts";
import { renderGraph } from "./render-graph.ts";
import type { ProcessHost, Runnable } from "./runnable.ts";

/** Runs the apps; calls `onReady` when all is up, and ends in order when `over` aborts. Resolves with the exit code. */
export type RunToEnd = (options: { readonly onReady: () => void; readonly over: AbortSignal }) => Promise<number>;

type GraphCommand = Extract<RunCommand, { command: "graph" }>;
type ConfigCommand = Extract<RunCommand, { command: "config" }>;
type TaskCommand = Extract<RunCommand, { command: "task" }>;
type DocumentCommand = Extract<RunCommand, { command: "document" }>;
type Told = Pick<CommandAnswer, "texts" | "exitCode">;

/** When a main that has answered is still held open by something, it is cut off after this. */
const lingerMs = 1_000;

/**
 * Answers a command instead of running the apps; what cannot be told, and every fault, stands on standard error.
 * @returns The exit code: 0, or 1 when there are faults.
 */
export async function answerCommand(
  command: RunCommand,
  apps: readonly Runnable[],
  host: ProcessHost,
  runToEnd: RunToEnd,
): Promise<number> {
  const tell = (text: string): void => void host.stderr.write(`${text}\n`);
  const { texts, exitCode } = await toldFor(command, apps, host, tell, runToEnd);
  let code = exitCode;
  try {
    await deliver(command, host, { type: "plinth.answer", texts, exitCode });
  } catch (error) {
    tell(`the answer cannot be delivered: ${messageOf(error)}`);
    code = 1;
  }
  setTimeout(() => host.exit(code), lingerMs).unref();
  return code;
}

function toldFor(
  command: RunCommand,
  apps: readonly Runnable[],
  host: ProcessHost,
  tell: (text: string) => void,
  runToEnd: RunToEnd,
): Promise<Told> {
  switch (command.command) {
    case "graph":
      return tellGraphs(command, apps, host, tell, runToEnd);
    case "config":
      return tellConfigs(command, apps, tell);
    case "task":
      return tellTasks(command, apps, host, tell);
    default:
      return tellDocuments(command, apps, tell);
  }
}

async function tellGraphs(
  { format, start }: GraphCommand,
  apps: readonly Runnable[],
  host: ProcessHost,
  tell: (text: string) => void,
  runToEnd: RunToEnd,
): Promise<Told> {
  const describable = withA("describe", "graph", apps, tell);
  const describeAll = (): AppDescription[] => describable.map((app) => app.describe());
  if (!start) {
    const descriptions = describeAll();
    const faults = descriptions.flatMap(({ app, faults }) => faults.map((fault) => `${app}: ${fault}`));
    faults.forEach(tell);
    return toldOf(
      descriptions.map((description) => renderGraph(description, format)),
      faults.length,
    );
  }
  let atReady: AppDescription[] | undefined;
  const over = new AbortController();
  const onGone = (): void => over.abort(new Error("the command line has gone"));
  host.on("disconnect", onGone);
  const code = await runToEnd({
    onReady: () => {
      atReady = describeAll();
      over.abort(new Error("the graph is described"));
    },
    over: over.signal,
  });
  host.off("disconnect", onGone);
  return toldOf(
    (atReady ?? describeAll()).map((description) => renderGraph(description, format)),
    code,
  );
}

async function tellConfigs(
  { format }: ConfigCommand,
  apps: readonly Runnable[],
  tell: (text: string) => void,
): Promise<Told> {
  const texts: string[] = [];
  let faults = 0;
  const known = withA("config", "config", apps, tell);
  for (const { name, config } of known) {
    try {
      if (format === "schema") texts.push(toJson(await config.jsonSchema()));
      else {
        const entries = await config.explain();
        texts.push(
          format === "json"
            ? toJson({ app: name, entries: entries.map(masked) })
            : explanation(name, entries, known.length),
        );
      }
    } catch (error) {
      faults++;
      tell(`${name}: ${messageOf(error)}`);
    }
  }
  return toldOf(texts, faults);
}

async function tellDocuments(
  { name: wanted, app: only }: DocumentCommand,
  apps: readonly Runnable[],
  tell: (text: string) => void,
): Promise<Told> {
  const asked = chosen(only, apps, tell);
  const texts: string[] = [];
  let faults = 0;
  const known = withA("writeDocuments", wanted, asked, tell);
  for (const app of known) {
    try {
      for (const document of await app.writeDocuments(wanted)) {
        texts.push(document.text);
        faults += document.faults.length;
        for (const each of document.faults) tell(`${app.name}: ${each}`);
        for (const each of document.warnings) tell(`${app.name}: warning: ${each}`);
      }
    } catch (error) {
      faults++;
      tell(`${app.name}: ${messageOf(error)}`);
    }
  }
  if (known.length > 0 && texts.length + faults === 0) {
    tell(`no module of ${known.map(({ name }) => name).join(", ")} writes a document "${wanted}"`);
  }
  return toldOf(texts, faults);
}

/** Ends in order at a signal, and when whoever asked has gone: a task may be half way. */
async function tellTasks(
  { name: wanted, app: only, subject, single, args, format }: TaskCommand,
  apps: readonly Runnable[],
  host: ProcessHost,
  tell: (text: string) => void,
): Promise<Told> {
  const over = new AbortController();
  const listeners = {
    SIGINT: () => over.abort(new Error("SIGINT arrived")),
    SIGTERM: () => over.abort(new Error("SIGTERM arrived")),
    disconnect: () => over.abort(new Error("the command line has gone")),
  };
  for (const [event, listener] of Object.entries(listeners)) host.on(event, listener);
  const texts: string[] = [];
  let faults = 0;
  const known = withA("runTasks", wanted, chosen(only, apps, tell), tell);
  if (single && known.length > 1) {
    tell(`there are several apps, ${known.map(({ name }) => name).join(", ")}; name the one that is meant`);
    return toldOf([], 1);
  }
  for (const app of known) {
    if (over.signal.aborted) break;
    try {
      const results = await app.runTasks({ name: wanted, subject, single, args, signal: over.signal });
      for (const { text, data, faults: own } of results) {
        texts.push(format === "json" ? toJson({ app: app.name, ...data }) : text);
        faults += own.length;
        for (const each of own) tell(`${app.name}: ${each}`);
      }
    } catch (error) {
      faults++;
      tell(`${app.name}: ${messageOf(error)}`);
    }
  }
  for (const [event, listener] of Object.entries(listeners)) host.off(event, listener);
  if (known.length > 0 && texts.length + faults === 0) {
    tell(`${known.map(({ name }) => name).join(", ")} has nothing to ${wanted}`);
  }
  return toldOf(texts, faults);
}

function chosen(
  only: string | undefined,
  apps: readonly Runnable[],
  tell: (text: string) => void,
): readonly Runnable[] {
  const asked = only === undefined ? apps : apps.filter(({ name }) => name === only);
  if (asked.length === 0) tell(`there is no app "${only}"; there is ${apps.map(({ name }) => name).join(", ")}`);
  return asked;
}

function explanation(name: string, entries: readonly ConfigEntry[], apps: number): string {
  const text = renderExplanation(entries);
  return apps === 1 ? text : `${name}:\n${text}`;
}

/** Once more: whatever the value is, no secret leaves by this way. */
function masked(entry: ConfigEntry): ConfigEntry {
  return entry.isSecret && entry.value !== undefined ? { ...entry, value: "***" } : entry;
}

/** Those that can be asked; of the others it is said that they cannot. */
function withA<Part extends "describe" | "config" | "writeDocuments" | "runTasks">(
  part: Part,
  what: string,
  apps: readonly Runnable[],
  tell: (text: string) => void,
): (Runnable & Required<Pick<Runnable, Part>>)[] {
  const has = (app: Runnable): app is Runnable & Required<Pick<Runnable, Part>> => app[part] !== undefined;
  for (const { name } of apps.filter((app) => !has(app))) {
    tell(`${name}: its ${what} is not known in this process; ask the main that creates the app`);
  }
  return apps.filter(has);
}

/** That nothing at all can be told is a fault too. */
function toldOf(texts: readonly string[], faults: number): Told {
  return { texts, exitCode: faults > 0 || texts.length === 0 ? 1 : 0 };
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function deliver(command: RunCommand, host: ProcessHost, answer: CommandAnswer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const done = (error?: Error | null): void => (error ? reject(error) : resolve());
  if (command.answer === "ipc") {
    if (!host.connected || !host.send) throw new Error("whoever asked has gone");
    host.send(answer, undefined, undefined, done);
  } else {
    if (!host.stdout) throw new Error("there is no standard output");
    host.stdout.write(joinTexts(command, answer.texts), done);
  }
  return promise;
}
