// npm run simulate -- registry [--seconds 10] [--results FOLDER]: a fleet on this machine, larger than a test would make it.
// npm run simulate -- brown-out: what retries do to a call tree of which the lowest layer has too little for a while; prints a table.
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { simulateBrownOut, toBrownOutTable } from "./simulations/brown-out.ts";
import { simulateRegistry } from "./simulations/registry.ts";

const simulations = ["registry", "brown-out"];

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { seconds: { type: "string" }, results: { type: "string" } },
  });
  const [name = ""] = positionals;
  const seconds = values.seconds === undefined ? undefined : Number(values.seconds);
  if (!simulations.includes(name) || positionals.length !== 1 || (seconds !== undefined && !(seconds > 0))) {
    process.stderr.write(`usage: npm run simulate -- ${simulations.join(" | ")} [--seconds 10] [--results FOLDER]\n`);
    return 2;
  }
  if (name === "brown-out") {
    process.stdout.write(toBrownOutTable(simulateBrownOut()));
    return 0;
  }
  const root = join(import.meta.dirname, "..");
  const resultsDirectory =
    values.results === undefined ? join(import.meta.dirname, "results") : resolve(values.results);
  return (await simulateRegistry({ root, resultsDirectory, seconds })) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
