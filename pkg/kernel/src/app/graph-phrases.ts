import type { HookDescription, NodeDescription } from "./description.ts";
import type { AppState } from "./events.ts";

/** What a terminal, a diagram or an editor would act on instead of showing: controls, and marks that turn the order of letters. */
// oxlint-disable-next-line no-control-regex -- these are what it is about
const unprintable = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Text that stays on its line: breaks become spaces, other controls their number. */
export function oneLine(text: string): string {
  return text
    .replace(/\s*[\r\n\u2028\u2029]+\s*/g, " ")
    .replace(unprintable, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** What was only cut short, because something else had failed, has not. */
export function isFailed({ state }: NodeDescription): boolean {
  return state === "failed";
}

/** Before the start everything waits, and what requests make waits always. */
export function goesWithoutSaying({ state, kind }: NodeDescription, app: AppState): boolean {
  return state === "waiting" && (app === "created" || kind === "request");
}

/** `started 12 ms`: the state, and how long the hooks that led to it took together. */
export function statePhrase(node: NodeDescription): string {
  const { state, hooks } = node;
  if (isFailed(node)) {
    const failures = hooks.flatMap(({ hook, tookMs, error }) =>
      error === undefined ? [] : [`${hook}: ${oneLine(error)} (after ${milliseconds(tookMs)})`],
    );
    return ["✗ failed", ...(failures.length > 0 ? [failures.join("; ")] : [])].join(": ");
  }
  const ran = hooks.filter(({ hook }) => hooksOf[state].includes(hook));
  if (ran.length === 0) return state;
  return `${state} ${milliseconds(ran.reduce((sum, { tookMs }) => sum + tookMs, 0))}`;
}

const up = ["create", "start", "join"] as const;
const down = ["leave", "drain", "stop"] as const;
const hooksOf: Readonly<Record<NodeDescription["state"], readonly HookDescription["hook"][]>> = {
  unused: [],
  waiting: [],
  creating: [],
  created: up,
  starting: [],
  started: up,
  stopping: [],
  stopped: down,
  failed: [],
};

function milliseconds(ms: number): string {
  return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
}
