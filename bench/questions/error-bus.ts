// Question: what does reporting an error cost the code that reports it, and how many a second does it sustain?
//
// Floor:   a node EventEmitter with one listener that counts: nothing is kept, written or sent.
// Peers:   @sentry/node, `captureException` with a transport that makes the envelope and answers at once; as it comes, and with no integrations.
// Plinth:  `report` of an app's error bus, with metrics, a log whose lines are thrown away, and a reporter that does nothing. It counts
//          the same fault seen again instead of handing it on each time: that is what it is for, and part of the figure.
// Shape:   errors are made before they are reported, uncounted; 500 at once where the call is timed, then all are waited for, uncounted.
//          For the rate 100 different ones in each turn of the event loop, until the last is taken. Each row may keep 1 000 waiting.
// Targets: of what the least of Sentry takes, a tenth for the same fault seen again, a fifth for a new one.
import { join } from "node:path";
import { type ProgramRow, inProcess } from "../harness/in-process.ts";
import type { RowRole } from "../harness/question.ts";
import { nodeProgram } from "../subjects/programs.ts";

const row = (name: string, role: RowRole, file: string, env: Readonly<Record<string, string>> = {}): ProgramRow => ({
  name,
  role,
  launch: nodeProgram(join("error-bus", file), env),
});

export const errorBus = inProcess({
  name: "error-bus",
  sentence: "What does reporting an error cost the code that reports it, and how many a second are taken to the end?",
  subject: "plinth",
  figures: [
    { key: "sameMicros", title: "same fault µs", digits: 2, compared: "the same fault" },
    { key: "sameBytes", title: "bytes", digits: 0 },
    { key: "otherMicros", title: "different ones µs", digits: 2, compared: "different faults" },
    { key: "otherBytes", title: "bytes", digits: 0 },
    { key: "perSecond", title: "a second", digits: 0 },
    { key: "lostRatio", title: "lost", digits: 0, percent: true },
  ],
  effort: { rounds: 5, seconds: 6 },
  shape: { burst: 500, perTurn: 100, maxWaiting: 1_000 },
  describe: ({ rounds, seconds = 0 }) =>
    `The call alone, 500 at once; the rate with 100 different ones in a turn; medians of ${rounds} rounds of ${seconds} s.`,
  targets: [
    { row: "plinth", comparedTo: "@sentry/node, bare", figure: "sameMicros", atMost: 0.1 },
    { row: "plinth", comparedTo: "@sentry/node, bare", figure: "otherMicros", atMost: 0.2 },
  ],
  rows: [
    row("EventEmitter", "floor", "emitter.ts"),
    row("@sentry/node", "peer", "sentry.ts"),
    row("@sentry/node, bare", "peer", "sentry.ts", { BARE: "1" }),
    row("plinth", "plinth", "plinth.ts"),
  ],
});
