// Plinth: an app of the core module alone, with nothing of the environment and no announce delay.
import { coreModule, createApp } from "@plinth/kernel";
import { reportEmptyApp } from "./report.ts";

await reportEmptyApp(async () => {
  const app = createApp({
    name: "bench",
    modules: [coreModule],
    config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
    logDestination: { write: () => {} },
  });
  await app.start();
  await app.stop();
  if (app.state !== "stopped") throw new Error(`the app is ${app.state}, not stopped`);
});
