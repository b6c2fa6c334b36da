import { parseArgs } from "node:util";
import { BenchError } from "./errors.ts";
import type { Effort, Question } from "./question.ts";

/** What `npm run bench -- …` was asked to do. */
export type Command =
  | { readonly do: "help" }
  | { readonly do: "list" }
  | {
      readonly do: "run";
      readonly name: string;
      /** What was asked for; the question says the rest. */
      readonly effort: Partial<Effort>;
      /** Another file for the result. */
      readonly json: string | undefined;
      /** Whether a missed target is a failure. */
      readonly check: boolean;
    };

export const usage = `usage: npm run bench -- NAME [--json FILE] [--check] [--rounds N] [--seconds N]
       npm run bench -- --list

  --json FILE   also write rows, ratios and targets there
  --check       exit with code 1 and name each target that is missed
  --rounds N    turns of each row; each question has its default
  --seconds N   length of each counted window, where a question has one
  --list        all questions`;

/**
 * Reads the command line, without the program's own name.
 *
 * @throws {@link BenchError} `ERR_BENCH_ARGUMENT` naming what is wrong.
 */
export function parseArguments(argv: readonly string[]): Command {
  const { values, positionals } = parse(argv);
  if (values.help) return { do: "help" };
  if (values.list) return { do: "list" };
  const [name, ...more] = positionals;
  if (name === undefined) throw new BenchError("ERR_BENCH_ARGUMENT", "which question? --list names all");
  if (more.length > 0) {
    throw new BenchError("ERR_BENCH_ARGUMENT", `one question at a time, not also ${more.join(", ")}`);
  }
  const effort = {
    ...(values.rounds === undefined ? {} : { rounds: wholeNumber("--rounds", values.rounds) }),
    ...(values.seconds === undefined ? {} : { seconds: wholeNumber("--seconds", values.seconds) }),
  };
  return { do: "run", name, effort, json: values.json, check: values.check };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        json: { type: "string" },
        check: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
        help: { type: "boolean", default: false, short: "h" },
        rounds: { type: "string" },
        seconds: { type: "string" },
      },
    });
  } catch (error) {
    // Node's own message names the option and what it expects.
    if (!(error instanceof TypeError)) throw error;
    throw new BenchError("ERR_BENCH_ARGUMENT", error.message, { cause: error });
  }
}

/**
 * What a run takes: what was asked for, else what the question takes.
 *
 * @throws {@link BenchError} `ERR_BENCH_ARGUMENT` when a window is asked of a question that has none.
 */
export function effortOf({ name, effort }: Pick<Question, "name" | "effort">, asked: Partial<Effort>): Effort {
  if (asked.seconds !== undefined && effort.seconds === undefined) {
    throw new BenchError("ERR_BENCH_ARGUMENT", `${name} counts no window: it takes --rounds, and no --seconds`);
  }
  return { ...effort, ...asked };
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) {
    throw new BenchError("ERR_BENCH_ARGUMENT", `${name} is a whole number from 1 to 9999, not ${JSON.stringify(text)}`);
  }
  return Number(text);
}
