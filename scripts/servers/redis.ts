// A real Redis on a free port of this machine, for as long as a test needs it.
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type ServerProcess, startServerProcess } from "./child.ts";
import { ServerError } from "./errors.ts";
import { findServer } from "./find.ts";
import { findFreePorts } from "./ports.ts";

const readyLimitMs = 15_000;
const pollMs = 10;

export interface RedisOptions {
  /** More arguments for `redis-server`, after ours. Default none. */
  readonly args?: readonly string[];
}

export interface Redis extends AsyncDisposable {
  readonly port: number;
  /** `redis://127.0.0.1:port`; stays the same across restarts. */
  readonly url: string;
  /** Its reply to one command, as the protocol has it: `+OK`, `:3`, `-ERR …`. */
  ask(...command: readonly string[]): Promise<string>;
  /** Sends `signal`. Resolves when the process has ended; for SIGSTOP and SIGCONT, at once. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it if it still runs and starts it again, empty, on the same port. */
  restart(): Promise<void>;
  /** Ends it and removes its files. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts `redis-server`, which keeps nothing on disk. Ready when it resolves. It ends with this process in any case.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when none can be had, `ERR_SERVER_START` when it does not come up.
 */
export async function startRedis({ args = [] }: RedisOptions = {}): Promise<Redis> {
  const server = await findServer("redis-server");
  const folder = await mkdtemp(join(tmpdir(), "plinth-redis-"));
  const run = async (at: number): Promise<ServerProcess> => {
    const ours = ["--port", `${at}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
    const child = await startServerProcess(server, [...ours, ...args], folder);
    const deadline = performance.now() + readyLimitMs;
    while (!(await isUp(at))) {
      if (child.exited() || performance.now() > deadline) {
        await child.kill("SIGKILL");
        throw new ServerError(
          "ERR_SERVER_START",
          `${server.bin} on port ${at} did not come up; it printed:\n${child.output()}`,
        );
      }
      await delay(pollMs);
    }
    return child;
  };
  const [port = 0] = await findFreePorts(1);
  let child = await run(port);
  const stop = async (): Promise<void> => {
    await child.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    ask: (...command) => ask(port, command),
    kill: (signal) => child.kill(signal),
    async restart() {
      await child.stop();
      child = await run(port);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Whether it answers at all: one that wants a password says so. */
async function isUp(port: number): Promise<boolean> {
  try {
    return /^(?:\+PONG|-NOAUTH)/.test(await ask(port, ["PING"]));
  } catch {
    return false;
  }
}

/** All that comes until the server has closed the connection, which it is asked for. */
function ask(port: number, command: readonly string[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = "";
  const socket = connect(port, "127.0.0.1");
  socket.setEncoding("utf8");
  socket.on("data", (chunk) => (text += String(chunk)));
  socket.on("error", reject);
  socket.on("end", () => resolve(text.replace(/\+OK\r\n$/, (ok) => (text === ok ? ok : "")).trim()));
  socket.write(toWire(command) + toWire(["QUIT"]));
  return promise;
}

function toWire(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}
