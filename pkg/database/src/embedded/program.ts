import { spawn, type SpawnOptions } from "node:child_process";
import { DatabaseError } from "../errors.ts";
import type { Account } from "./account.ts";
import type { Binaries } from "./binaries.ts";

/** How every process of the server is started: nothing of our environment, no terminal, another account when we are root. */
export function spawnOptions(account: Account | undefined, env: Binaries["env"] = {}): SpawnOptions {
  return {
    cwd: "/",
    env: { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", ...env },
    ...(account ? { uid: account.uid, gid: account.gid } : {}),
  };
}

/**
 * Runs a program to its end.
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED`, with the end of what it wrote, when it fails.
 */
export async function runProgram(
  path: string,
  args: readonly string[],
  account: Account | undefined,
  env?: Binaries["env"],
): Promise<void> {
  const child = spawn(path, args, { ...spawnOptions(account, env), stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const collect = (chunk: Buffer): void => {
    output = `${output}${chunk.toString()}`.slice(-4_096);
  };
  child.stdout?.on("data", collect);
  child.stderr?.on("data", collect);
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject);
  child.once("close", resolve);
  const code = await promise;
  if (code === 0) return;
  throw new DatabaseError("ERR_DATABASE_EMBEDDED", "internal", `${path} failed with ${code}: ${output.trim()}`);
}
