// Whether a program has printed what a page shows, but for what is another each time.

/** What differs from run to run; the page shows any value in its place. */
const varying: readonly (readonly [pattern: RegExp, mark: string])[] = [
  // the time of a log line in a terminal
  [/\[\d{2}:\d{2}:\d{2}\.\d{3}\]/g, "[TIME]"],
  // trace, request and span ids
  [/\b[0-9a-f]{32}\b/g, "ID"],
  [/\b[0-9a-f]{16}\b/g, "ID"],
  // how long something took; limits and other numbers are compared
  [/"(durationMs|ageMs)":\d+/g, '"$1":MS'],
  [/\b(duration_ms|failedForMs)=[\d.]+/g, "$1=MS"],
  [/\b(started|stopped|after) [\d.]+ ms\b/g, "$1 MS"],
  [/; what else took time: .*/g, "; what else took time: …"],
  // of the test runner
  [/\([\d.]+ms\)$/gm, "(MS)"],
  [/^ℹ duration_ms [\d.]+$/gm, "ℹ duration_ms MS"],
  // where in the code of the packages something was made or thrown
  [/(node_modules\/@plinth\/\S+\.js):\d+/g, "$1:LINE"],
  [/\n +at .*/g, ""],
  [/ +$/gm, ""],
];

/** A line of the page that stands for any number of lines. */
const anyLines = "…";

function mask(text: string): string {
  return varying.reduce((masked, [pattern, mark]) => masked.replace(pattern, mark), text).trimEnd();
}

/** @param shown - Lines of the page. */
export function isShown(shown: readonly string[], printed: string): boolean {
  const parts = mask(shown.join("\n"))
    .split("\n")
    .map((line) => (line === anyLines ? "(?:.*\n)*?" : `${escape(line)}\n`));
  return new RegExp(`^${parts.join("")}$`).test(`${mask(printed)}\n`);
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Both, for the message of a test that fails. */
export function difference(shown: readonly string[], printed: string): string {
  return `the page shows:\n${shown.join("\n")}\n\nprinted was:\n${printed}\n`;
}
