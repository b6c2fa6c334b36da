// An issuer of tokens whose key set is served by a process that a test can kill, and that gives what it is told to, right or wrong.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SigningKey } from "../../pkg/gateway/src/testing/issuer.ts";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { killNow } from "./processes.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";

const root = join(import.meta.dirname, "../..");
const startLimitMs = 60_000;

export interface IssuerAnswer {
  readonly status: number;
  readonly body: string;
}

export interface FaultIssuer extends AsyncDisposable {
  readonly url: string;
  /** From the next fetch on: each of them once, and the last one ever after. */
  say(...answers: readonly IssuerAnswer[]): void;
  start(): Promise<void>;
  kill(): Promise<void>;
  /** How often the key set was asked for, by the newest process. */
  fetches(): number;
}

export const keySetOf = (...keys: readonly SigningKey[]): IssuerAnswer => ({
  status: 200,
  body: JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }),
});

/** Not started yet. */
export async function createFaultIssuer(...first: readonly IssuerAnswer[]): Promise<FaultIssuer> {
  const folder = mkdtempSync(join(tmpdir(), "plinth-fault-issuer-"));
  const file = join(folder, "answers");
  const [port = 0] = await findFreePorts(1);
  let program: Program | undefined;
  const say = (...answers: readonly IssuerAnswer[]): void => {
    writeFileSync(`${file}.next`, JSON.stringify(answers));
    renameSync(`${file}.next`, file);
  };
  say(...first);
  return {
    url: `http://127.0.0.1:${port}/jwks`,
    say,
    async start() {
      program = await startProgram(process.execPath, [join(root, "test/programs/fault-issuer.ts")], {
        folder: root,
        environment: { ...userEnvironment(), PORT: String(port), ANSWERS: file },
      });
      await program.untilPrinted("listening\n", startLimitMs);
    },
    async kill() {
      if (!program) return;
      killNow(program.pid);
      await program.exit;
    },
    fetches: () => (program?.stdout() ?? "").split("fetched\n").length - 1,
    async [Symbol.asyncDispose]() {
      await program?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}
