import { parseArgs } from "node:util";
import { logger, messageOf, runApps } from "@plinth/kernel";
import { createMemoryStore } from "@plinth/registry";
import { ChildApp, type ReadyMessage } from "./child-process.ts";
import { type AppName, appNames, createPlatformApp, isAppName } from "./platform.ts";
import { platformTable } from "./table.ts";

/** All apps side by side in this process, on one registry in memory. */
async function runTogether(): Promise<number> {
  const store = createMemoryStore();
  const parts = appNames.map((name) => createPlatformApp(name, { environment: process.env, store }));
  return runApps(
    parts.map(({ app }) => app),
    {
      onReady: async () => {
        // The table comes last: after the lines that tell of the start.
        await Promise.all(parts.map(({ app }) => app.get(logger).flush()));
        process.stdout.write(platformTable(parts.flatMap((part) => part.addresses())));
      },
    },
  );
}

/** Each app in a process of its own; they find each other through Consul. */
async function runApart(): Promise<number> {
  const children = appNames.map((name) => new ChildApp(name, import.meta.filename));
  return runApps(children, {
    onReady: () => void process.stdout.write(platformTable(children.flatMap(({ addresses }) => addresses))),
  });
}

/** One app, as a child of {@link runApart} or by hand. */
async function runOne(name: AppName): Promise<number> {
  const part = createPlatformApp(name, { environment: process.env });
  // The parent is gone, killed perhaps: nobody would stop this process any more.
  const onOrphaned = (): void => void process.kill(process.pid, "SIGTERM");
  process.once("disconnect", onOrphaned);
  const code = await runApps([part.app], {
    onReady: async () => {
      await part.app.get(logger).flush();
      const message: ReadyMessage = { type: "ready", addresses: part.addresses() };
      if (process.send) process.send(message);
      else process.stdout.write(platformTable(message.addresses));
    },
  });
  process.off("disconnect", onOrphaned);
  if (process.connected) process.disconnect?.();
  return code;
}

async function main(): Promise<number> {
  try {
    const { values } = parseArgs({ options: { app: { type: "string" } } });
    if (values.app === undefined) return process.env.PLINTH_CONSUL_ADDR ? await runApart() : await runTogether();
    if (isAppName(values.app)) return await runOne(values.app);
    throw new Error(`--app ${values.app}: there is no such app; take one of ${appNames.join(", ")}`);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
