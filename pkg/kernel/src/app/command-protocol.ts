import { z } from "zod";
import { messageOf } from "../errors/app-error.ts";
import { graphFormats } from "./render-graph.ts";
import type { ProcessHost } from "./runnable.ts";

/** Holds a {@link RunCommand} as JSON: a main that finds it in its environment answers it instead of running its apps. */
export const commandVariable = "PLINTH_COMMAND";

/** Made when a command has come: no service needs it. */
function commandSchema() {
  const answering = {
    /** `ipc`: the answer goes to the parent process over its channel. Default: standard output. */
    answer: z.enum(["stdout", "ipc"]).default("stdout"),
    /** The process that has taken the command; others, which only inherited the variable, run as ever. */
    pid: z.int().min(1).optional(),
  };
  return z.discriminatedUnion("command", [
    z.strictObject({
      command: z.literal("graph"),
      format: z.enum(graphFormats).default("tree"),
      /** Starts the apps, describes them once they are ready or have failed, and stops them. */
      start: z.boolean().default(false),
      ...answering,
    }),
    z.strictObject({
      command: z.literal("config"),
      format: z.enum(["text", "json", "schema"]).default("text"),
      ...answering,
    }),
    z.strictObject({
      command: z.literal("document"),
      /** Which one: its name in the app's documents. */
      name: z.string().min(1),
      /** Asks this one alone of the apps. */
      app: z.string().min(1).optional(),
      format: z.literal("json").default("json"),
      ...answering,
    }),
    z.strictObject({
      command: z.literal("task"),
      /** Which one: the name of tasks that apps have. */
      name: z.string().min(1),
      app: z.string().min(1).optional(),
      subject: z.string().min(1).optional(),
      /** Refuses where there are several. */
      single: z.boolean().default(false),
      args: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
      format: z.enum(["text", "json"]).default("text"),
      ...answering,
    }),
  ]);
}

/** What the command line may ask of a main. */
export type RunCommand = z.infer<ReturnType<typeof commandSchema>>;

/**
 * The command that this process was given; undefined when there is none, or when it was given to another process, from which
 * this one has inherited it.
 * @throws {@link Error} when the variable is not understood.
 */
export function takeCommand({ env, pid }: ProcessHost): RunCommand | undefined {
  const text = env?.[commandVariable];
  if (env === undefined || text === undefined || text === "") return undefined;
  const command = parseCommand(text);
  if (command.pid !== undefined && command.pid !== pid) return undefined;
  // Signed, so that a process which a start brings up runs its app. It stays: a main may run apps more than once.
  if (pid !== undefined) env[commandVariable] = JSON.stringify({ ...command, pid });
  return command;
}

function parseCommand(text: string): RunCommand {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new Error(`${commandVariable} is no JSON: ${messageOf(error)}`, { cause: error });
  }
  const { data, error } = commandSchema().safeParse(content);
  if (data) return data;
  throw new Error(`${commandVariable} is not understood:\n${z.prettifyError(error)}`, { cause: error });
}

/** What a main sends to the command line, once for each time it runs apps. */
export interface CommandAnswer {
  readonly type: "plinth.answer";
  /** One for each app that can be told of, in the form that the command asks for. */
  readonly texts: readonly string[];
  /** 0, or 1 when there are faults. */
  readonly exitCode: number;
}

const answerSchema = () =>
  z.strictObject({
    type: z.literal("plinth.answer"),
    texts: z.array(z.string()),
    exitCode: z.int().min(0).max(255),
  });

/** The answer in a message from a main, which may send others; undefined when it is none. */
export function toCommandAnswer(message: unknown): CommandAnswer | undefined {
  return answerSchema().safeParse(message).data;
}

/** The texts of several apps as one: JSON becomes an array, everything else has an empty line between. */
export function joinTexts({ format }: Pick<RunCommand, "format">, texts: readonly string[]): string {
  const isJson = format === "json" || format === "schema";
  return isJson && texts.length > 1 ? `[\n${texts.map((text) => text.trimEnd()).join(",\n")}\n]\n` : texts.join("\n");
}
