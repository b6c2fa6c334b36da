// Loaded into every test process: one that its tests left something open in fails and names itself.
import { writeSync } from "node:fs";
import { relative } from "node:path";
import { after } from "node:test";
import { isMainThread } from "node:worker_threads";

// How long a process may live on when its last test has ended; the file's own hooks, which clear away what it made, come after ours.
const lingerLimitMs = Number(process.env["PLINTH_TEST_LINGER_LIMIT_MS"] ?? 20_000);

// The runner that starts the test processes loads this too, as do threads; only a test process is watched.
if (process.env["NODE_TEST_CONTEXT"] === "child-v8" && isMainThread) {
  const file = relative(process.cwd(), process.argv[1] ?? "a test process");
  after(() => {
    // It does not hold the process open, so it fires only where something else does.
    setTimeout(() => {
      const open = process.getActiveResourcesInfo().filter((name) => name !== "PipeWrap");
      writeSync(
        2,
        `${file}: its tests have ended but these are still open: ${open.join(", ")}; close them in the test\n`,
      );
      process.exit(1);
    }, lingerLimitMs).unref();
  });
}
