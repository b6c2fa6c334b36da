#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArguments, usage } from "./arguments.ts";
import { askMain } from "./ask.ts";
import { writeNewMigration } from "./new-migration.ts";
import { UsageError } from "./usage.ts";

function versionOf(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(import.meta.dirname, "../package.json"), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest ? String(manifest.version) : "";
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const invocation = parseArguments(args);
    if (invocation.kind === "ask") return await askMain(invocation);
    if (invocation.kind === "new") return await writeNewMigration(invocation, new Date());
    if (invocation.kind === "services") return await (await import("./services.ts")).printServices(invocation);
    if (invocation.kind === "gateway") return await (await import("./gateway.ts")).askGateway(invocation);
    process.stdout.write(invocation.kind === "help" ? usage : `${versionOf()}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`plinth: ${error.message}\nplinth --help tells all commands and options\n`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
