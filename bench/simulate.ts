// npm run simulate -- registry [--seconds 10] [--results FOLDER]: a fleet on this machine, larger than a test would make it.
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { simulateRegistry } from "./simulations/registry.ts";

const simulations = { registry: simulateRegistry };

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { seconds: { type: "string" }, results: { type: "string" } },
  });
  const [name = ""] = positionals;
  const seconds = values.seconds === undefined ? undefined : Number(values.seconds);
  if (!(name in simulations) || positionals.length !== 1 || (seconds !== undefined && !(seconds > 0))) {
    process.stderr.write(
      `usage: npm run simulate -- ${Object.keys(simulations).join(" | ")} [--seconds 10] [--results FOLDER]\n`,
    );
    return 2;
  }
  const root = join(import.meta.dirname, "..");
  const resultsDirectory =
    values.results === undefined ? join(import.meta.dirname, "results") : resolve(values.results);
  return (await simulateRegistry({ root, resultsDirectory, seconds })) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
