// A page of the tutorial as a reader takes it: files to write, and commands to type with what they print.

/** A file that the page shows whole; its first line is a comment with its name. */
export interface FileStep {
  readonly kind: "file";
  readonly name: string;
  readonly text: string;
  /** The compiler refuses it, until another version takes its place. */
  readonly isFaulty: boolean;
  /** Where it stands in the page. */
  readonly line: number;
}

/** A piece of a terminal. */
export interface ConsoleStep {
  readonly kind: "console";
  /** What the program that was left running has printed since, and keys pressed there. */
  readonly back: readonly string[] | undefined;
  readonly commands: readonly Command[];
  /** Whether the last command goes on in its terminal. */
  readonly isRunning: boolean;
  readonly line: number;
}

export interface Command {
  readonly text: string;
  /** Its output, line by line, with `^C` where that key is pressed. */
  readonly shown: readonly string[];
}

/**
 * The steps of a page, from its fenced blocks.
 *
 * - `ts`, `yaml`, `json` and `text` blocks are files; `ts faulty` is one that the compiler refuses.
 * - `console` blocks hold commands after `$ `, each with its output. `console running`: the last command goes on.
 *   `console back`: first, what that one has printed since.
 *
 * @throws {@link Error} with the line of a block that is neither.
 */
export function parsePage(markdown: string): readonly (FileStep | ConsoleStep)[] {
  return [...markdown.matchAll(/^```(\S+) ?(.*)\n([^]*?)^```$/gm)].map((match) => {
    const [, language = "", info = "", text = ""] = match;
    const line = markdown.slice(0, match.index).split("\n").length;
    if (language === "console") return toConsole(text.trimEnd().split("\n"), info, line);
    const [, name] = /^(?:\/\/|#) (\S+)\n/.exec(text) ?? [];
    if (name === undefined || !["", "faulty"].includes(info)) throw refusal(line);
    return { kind: "file", name, text, isFaulty: info === "faulty", line };
  });
}

function toConsole(lines: readonly string[], info: string, line: number): ConsoleStep {
  if (!["", "running", "back"].includes(info)) throw refusal(line);
  const back: string[] = [];
  const commands: { text: string; shown: string[] }[] = [];
  for (const each of lines) {
    if (each.startsWith("$ ")) commands.push({ text: each.slice(2), shown: [] });
    else (commands.at(-1)?.shown ?? back).push(each);
  }
  if ((info === "back") !== back.length > 0) throw refusal(line);
  return {
    kind: "console",
    back: info === "back" ? back : undefined,
    commands,
    isRunning: info === "running",
    line,
  };
}

function refusal(line: number): Error {
  return new Error(`line ${line}: a block is a file whose first line is a comment with its name, or a console`);
}
