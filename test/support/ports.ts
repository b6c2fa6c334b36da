// Ports that a test takes, and who has those that it cannot have.
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { describe, listProcesses } from "./processes.ts";
import { until } from "./until.ts";

/** Listens on a port of 127.0.0.1 until the end of the `await using` block. */
export async function occupyPort(port: number): Promise<AsyncDisposable> {
  const server = createServer();
  server.listen({ port, host: "127.0.0.1", exclusive: true });
  await once(server, "listening");
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

/** Waits until nobody listens on `ports`. @throws After `limitMs`, naming who does, so that they can be stopped. */
export async function untilFree(ports: readonly number[], limitMs: number): Promise<void> {
  const held = (): number[] => ports.filter((port) => listenersOn(port).length > 0);
  await until(
    () => held().length === 0,
    () =>
      held()
        .map((port) => `this test needs port ${port}, which is held by ${holderOf(port)}; stop that process`)
        .join("\n"),
    limitMs,
  );
}

function holderOf(port: number): string {
  const sockets = new Set(listenersOn(port).map((inode) => `socket:[${inode}]`));
  const holders = listProcesses().filter(({ pid }) => linksOf(pid).some((link) => sockets.has(link)));
  return holders.length > 0 ? describe(holders) : "a process that cannot be seen from here";
}

/** Inodes of the sockets that listen on `port`, on any address. @see proc_pid_net(5) */
function listenersOn(port: number): readonly string[] {
  const listening = "0A";
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(
        ([, local = "", , state]) => state === listening && Number.parseInt(local.split(":")[1] ?? "", 16) === port,
      )
      .map((fields) => fields[9] ?? ""),
  );
}

function linksOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch (error) {
        return isGone(error) ? [] : raise(error);
      }
    });
  } catch (error) {
    return isGone(error) ? [] : raise(error);
  }
}

/** It has ended or been closed between two looks, or is somebody else's. */
function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && ["ENOENT", "ESRCH", "EACCES"].includes(String(error.code));
}

function raise(error: unknown): never {
  throw error;
}
