// npm run bench -- NAME: answers one question of bench/questions/ on this machine, now.
import { join } from "node:path";
import { main } from "./harness/main.ts";
import { questions } from "./questions/index.ts";

process.exitCode = await main(process.argv.slice(2), {
  questions,
  resultsDirectory: join(import.meta.dirname, "results"),
  root: join(import.meta.dirname, ".."),
});
