// What taking an error costs the code that has it, and how many are taken to the end in a second.
import { setImmediate } from "node:timers/promises";
import { getHeapStatistics } from "node:v8";
import { median } from "../../harness/statistics.ts";

/** Less than the 1 000 that every row may keep waiting, so that nothing is lost where only the call is timed. */
const burst = 500;
/** What comes in one turn of the event loop where the rate is measured. */
const perTurn = 100;

export interface Subject {
  /** What the code that has an error calls. */
  readonly report: (error: Error) => void;
  /** Resolves when all that was reported has been taken or lost. */
  readonly drain: () => Promise<void>;
  /** Errors that did not get to the end, since the start. */
  readonly lost: () => number;
}

type MakeError = (number: number) => Error;

/** Each a new object, of one place and one message. */
const sameFault: MakeError = () => new Error("the connection to the store was lost");
/** Differs in words: numbers alone would be the same fault for some. */
const otherFault: MakeError = (number) => new Error(`the part ${wordOf(number)} was lost`);

/** Times a subject and prints the figures. The length of the window is this program's argument. */
export async function reportErrors(subject: Subject): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const same = await callCost(subject, sameFault, ms / 3);
  const other = await callCost(subject, otherFault, ms / 3);
  const { perSecond, lostRatio } = await rateOf(subject, ms / 3);
  const reading = {
    sameMicros: same.micros,
    sameBytes: same.bytes,
    otherMicros: other.micros,
    otherBytes: other.bytes,
    perSecond,
    lostRatio,
  };
  process.stdout.write(JSON.stringify(reading));
}

/** Of one call: errors are made before and drained after, both untimed. A third of the time is not counted, so that the code is compiled. */
async function callCost(
  { report, drain }: Subject,
  make: MakeError,
  ms: number,
): Promise<{ readonly micros: number; readonly bytes: number }> {
  const micros: number[] = [];
  const bytes: number[] = [];
  const startedAt = performance.now();
  for (let made = 0; performance.now() < startedAt + ms; made += burst) {
    const errors = Array.from({ length: burst }, (_, at) => make(made + at));
    const allocatedBefore = getHeapStatistics().total_allocated_bytes;
    const calledAt = performance.now();
    for (const error of errors) report(error);
    const tookMs = performance.now() - calledAt;
    const allocated = getHeapStatistics().total_allocated_bytes - allocatedBefore;
    await drain();
    if (performance.now() < startedAt + ms / 3) continue;
    micros.push((tookMs * 1_000) / burst);
    bytes.push(allocated / burst);
  }
  return { micros: median(micros), bytes: median(bytes) };
}

/** Different errors in every turn of the event loop, until all are taken or lost; the time to make them is not counted. */
async function rateOf({ report, drain, lost }: Subject, ms: number) {
  const lostBefore = lost();
  let reported = 0;
  let spentMs = 0;
  while (spentMs < ms) {
    const errors = Array.from({ length: perTurn }, (_, at) => otherFault(reported + at));
    const startedAt = performance.now();
    for (const error of errors) report(error);
    await setImmediate();
    reported += perTurn;
    spentMs += performance.now() - startedAt;
  }
  const drainedFrom = performance.now();
  await drain();
  const seconds = (spentMs + performance.now() - drainedFrom) / 1_000;
  const lostCount = lost() - lostBefore;
  return { perSecond: (reported - lostCount) / seconds, lostRatio: lostCount / reported };
}

/** A number in letters. */
function wordOf(number: number): string {
  return Array.from(String(number), (digit) => "abcdefghij"[Number(digit)]).join("");
}
