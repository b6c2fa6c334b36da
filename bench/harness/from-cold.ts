// The kind of question that asks how soon a process serves: from its start to the first 200 of a path.
//
// The harness asks the path from the other CPU, a new connection every millisecond until one is answered: nothing is added to
// the program, which would have to load a client to ask itself, and a refused connection costs its CPU nothing.
import { findFreePorts } from "../../scripts/servers/index.ts";
import { preciseCpuMsOf } from "./cpu.ts";
import type { Lab } from "./lab.ts";
import type { Launch } from "./pinned-process.ts";
import type { Figure, Question, Reading, RowRole } from "./question.ts";

const figures: readonly Figure[] = [
  { key: "wallMs", title: "wall ms", digits: 1, compared: "wall time" },
  { key: "cpuMs", title: "CPU ms", digits: 1, compared: "CPU time" },
];

/** A server to start again and again. */
export interface ColdRow {
  readonly name: string;
  readonly role: RowRole;
  /** How it is started with a port to listen on. */
  readonly launch: (port: number) => Launch;
}

interface ColdQuestion extends Pick<Question, "name" | "sentence" | "subject" | "targets" | "effort"> {
  readonly readyPath: string;
  readonly prepare: (lab: Lab) => Promise<readonly ColdRow[]>;
}

/** A question whose rows are processes that are started and, once they serve, stopped. */
export function fromCold({ readyPath, prepare, ...question }: ColdQuestion): Question {
  return {
    ...question,
    figures,
    shape: { readyPath },
    describe: ({ rounds }) =>
      `From the start of the process to the first 200 of ${readyPath}, alone on one CPU, files in the page cache; medians of ${rounds} starts.`,
    prepare: async (lab) => {
      const rows = await prepare(lab);
      // Once each, uncounted: the first start reads the files from the disk.
      for (const row of rows) await startOnce(lab, row, readyPath);
      return rows.map((row) => ({ name: row.name, role: row.role, measure: () => startOnce(lab, row, readyPath) }));
    },
  };
}

async function startOnce(lab: Lab, row: ColdRow, readyPath: string): Promise<Reading> {
  const [port = 0] = await findFreePorts(1);
  const launch = row.launch(port);
  const startedAtMs = performance.now();
  const server = await lab.server({ ...launch, port, readyPath });
  const wallMs = performance.now() - startedAtMs;
  const cpuMs = preciseCpuMsOf(server.pid);
  await server.stop();
  return { wallMs, cpuMs };
}
