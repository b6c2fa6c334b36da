// Plinth: the error bus of an app, with its log thrown away, its metrics, and a reporter that takes everything and does nothing.
import { coreModule, createApp, defineModule, errorBus, errorReporters, provider } from "@plinth/kernel";
import { reportErrors } from "./report.ts";

const name = "null";
const nullReporter = provider({
  provides: errorReporters,
  create: () => ({ name, maxBatch: 100, report: () => {} }),
});

const app = createApp({
  name: "bench",
  modules: [coreModule, defineModule("reporter", [nullReporter])],
  config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
  logDestination: { write: () => {} },
});
await app.start();
const errors = app.get(errorBus);

await reportErrors({
  report: (error) => void errors.report(error, { origin: "request" }),
  drain: () => errors.flush(),
  lost: () => errors.stats().reporters.find((reporter) => reporter.name === name)?.dropped ?? Number.NaN,
});
await app.stop();
