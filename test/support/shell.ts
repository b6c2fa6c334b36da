// Command lines that documents and programs show, run as a person would who copies them into a shell.
import { runProgram, userEnvironment } from "./program.ts";

export interface Block {
  readonly lines: readonly string[];
  /** What the text shows as the output, when it shows one. */
  readonly output: string | undefined;
}

/** The shell blocks of a Markdown text that `<!-- run -->` marks, with the block of output that follows. */
export function markedBlocks(markdown: string): readonly Block[] {
  const pattern = /<!-- run -->\n```sh\n([^]*?)\n```(?:\n```(?:json|text)\n([^]*?)\n```)?/g;
  return [...markdown.matchAll(pattern)].map(([, code = "", output]) => ({ lines: code.split("\n"), output }));
}

export interface LineOutput {
  readonly line: string;
  readonly output: string;
}

const limitMs = 30_000;

/**
 * Runs the lines one after the other in one shell, in `folder`.
 * @returns What each line wrote to stdout.
 * @throws At the first that does not exit with 0, with all that was written.
 */
export async function runLines(lines: readonly string[], folder: string): Promise<readonly LineOutput[]> {
  const mark = `-- end of a line, ${crypto.randomUUID()}`;
  const script = lines.flatMap((line) => [line, `echo "${mark}"`]).join("\n");
  const { code, stdout, stderr } = await runProgram("bash", ["-c", `set -euo pipefail\n${script}`], {
    folder,
    environment: userEnvironment(),
    limitMs,
  });
  const outputs = stdout.split(`${mark}\n`).slice(0, -1);
  if (code !== 0 || outputs.length !== lines.length) {
    throw new Error(`"${lines[outputs.length]}" exited with ${code}:\n${stdout}\n${stderr}`);
  }
  return lines.map((line, index) => ({ line, output: outputs[index] ?? "" }));
}
