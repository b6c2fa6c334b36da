import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { effortOf, parseArguments, usage, type Command } from "./arguments.ts";
import { BenchError } from "./errors.ts";
import { Lab } from "./lab.ts";
import { chooseCpus, describeMachine, pinThisProcess } from "./machine.ts";
import { measure, type Sample } from "./measure.ts";
import { nearestNames } from "./nearest.ts";
import type { Question } from "./question.ts";
import { describeTarget, formatFigure, toJson, toMarkdown } from "./report.ts";
import { summarize, type BenchResult } from "./result.ts";

/** What the command line works on; the tests have their own. */
export interface BenchSetup {
  readonly questions: readonly Question[];
  /** Where `NAME.json` and `NAME.md` go. */
  readonly resultsDirectory: string;
  /** The repository, whose commit is reported. */
  readonly root: string;
}

/**
 * Runs one command line: tables go to standard output, progress and faults to standard error.
 *
 * @returns The exit code: 0, 1 when the run failed or `--check` found a missed target, 2 when the command is wrong.
 */
export async function main(argv: readonly string[], setup: BenchSetup): Promise<number> {
  try {
    const command = parseArguments(argv);
    if (command.do === "help") return say(usage);
    if (command.do === "list") {
      return say(setup.questions.map(({ name, sentence }) => `${name}\n  ${sentence}`).join("\n"));
    }
    const question = findQuestion(command.name, setup.questions);
    return await answer(question, command, setup);
  } catch (error) {
    if (!(error instanceof BenchError)) throw error;
    const wrongCommand = error.code === "ERR_BENCH_ARGUMENT" || error.code === "ERR_BENCH_UNKNOWN_QUESTION";
    console.error(`${error.code}: ${error.message}${error.code === "ERR_BENCH_ARGUMENT" ? `\n\n${usage}` : ""}`);
    return wrongCommand ? 2 : 1;
  }
}

/** @throws {@link BenchError} `ERR_BENCH_UNKNOWN_QUESTION` with the nearest names. */
export function findQuestion(name: string, questions: readonly Question[]): Question {
  const question = questions.find((candidate) => candidate.name === name);
  if (question !== undefined) return question;
  const near = nearestNames(
    name,
    questions.map((candidate) => candidate.name),
  );
  const hint = near.length === 0 ? "--list names all" : `nearest: ${near.join(", ")}`;
  throw new BenchError("ERR_BENCH_UNKNOWN_QUESTION", `there is no question "${name}"; ${hint}`);
}

async function answer(
  question: Question,
  { effort: asked, json, check }: Extract<Command, { do: "run" }>,
  { resultsDirectory, root }: BenchSetup,
): Promise<number> {
  const effort = effortOf(question, asked);
  const machine = await describeMachine(root);
  const cpus = await chooseCpus();
  await pinThisProcess(cpus.load);
  const lab = new Lab(cpus);
  const forget = closeOnSignal(lab);
  const samples: Sample[] = [];
  let result: BenchResult;
  try {
    const rows = await question.prepare(lab);
    for await (const sample of measure(rows, effort)) {
      samples.push(sample);
      console.error(`round ${sample.round}/${effort.rounds}  ${sample.row}: ${describeReading(question, sample)}`);
    }
    result = summarize(question, new Map(rows.map(({ name, role }) => [name, role])), samples, effort, machine);
  } finally {
    forget();
    await lab.close();
  }
  await write(result, resultsDirectory, json);
  say(toMarkdown(result));
  const missed = check ? result.targets.filter(({ met }) => !met) : [];
  for (const target of missed) {
    console.error(
      `missed: ${describeTarget(target)}, but it is ${target.value.toFixed(2)}${target.comparedTo === undefined ? "" : " ×"}`,
    );
  }
  return missed.length === 0 ? 0 : 1;
}

/** The figures that are compared: `CPU µs/request 12.3`. */
function describeReading({ figures }: Question, { reading }: Sample): string {
  return figures
    .filter(({ key, compared }) => compared !== undefined && key in reading)
    .map((figure) => `${figure.title} ${formatFigure(figure, reading[figure.key] ?? Number.NaN)}`)
    .join(", ");
}

async function write(result: BenchResult, directory: string, json: string | undefined): Promise<void> {
  const text = toJson(result);
  const files = [
    [join(directory, `${result.question}.json`), text],
    [join(directory, `${result.question}.md`), toMarkdown(result)],
    ...(json === undefined ? [] : [[resolve(json), text]]),
  ] as const;
  for (const [path = "", content = ""] of files) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
}

/** Ends the processes on Ctrl-C and SIGTERM, so that no server outlives the bench. */
function closeOnSignal(lab: Lab): () => void {
  const onSignal = (): void => {
    void lab.close().finally(() => process.exit(130));
  };
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  return () => process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
}

function say(text: string): 0 {
  console.log(text);
  return 0;
}
