import { join } from "node:path";
import type { Lab, Running } from "../harness/lab.ts";

/** How a Node program of this folder is started: as the repository's own source, by the Node that runs the bench. */
export function nodeProgram(file: string, env: Readonly<Record<string, string>> = {}) {
  return {
    name: file,
    bin: process.execPath,
    args: ["--conditions=plinth-source", join(import.meta.dirname, file)],
    env,
  };
}

/** Starts a Node program of this folder as the server under test. */
export async function startNode(lab: Lab, file: string, env?: Readonly<Record<string, string>>): Promise<Running> {
  return lab.server(nodeProgram(file, env));
}
