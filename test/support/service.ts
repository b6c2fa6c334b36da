// One service of `test/programs` as a process of its own, on ports that nothing else uses.
import { join } from "node:path";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ask, seriesOf } from "./http.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");
const readyLimitMs = 60_000;

export interface ServiceOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** A shell's command that starts `"$0" "$@"`, with its outputs where the test wants them. Default: they are read. */
  readonly shell?: string;
  /** Of the program's file. Default `ts`. */
  readonly ending?: "ts" | "cjs";
  /** Of Node, ahead of the program. Default none. */
  readonly flags?: readonly string[];
  /** Of its HTTP server. Default `http`; with `https`, what it writes tells when it is ready, and it has no `metric`. */
  readonly scheme?: "http" | "https";
  /** Where it is asked whether it is ready, and for its metrics, if it has a listener for that. */
  readonly opsPort?: number;
  /** A project with packages of its own, that has `test/programs` too. Default: this repository, from its sources. */
  readonly folder?: string;
}

export interface Service extends AsyncDisposable {
  readonly program: Program;
  readonly url: string;
  /** Where its gRPC server listens, if it has one. */
  readonly grpcAddress: string;
  /** The sum of the series of a metric that have these labels. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
}

/** Starts `test/programs/NAME.ts`; it is ready when this resolves. */
export async function startService(
  name: string,
  { environment = {}, shell, ending = "ts", flags = [], scheme = "http", folder = root, opsPort }: ServiceOptions = {},
): Promise<Service> {
  const [http = 0, grpc = 0] = await findFreePorts(2);
  const sources = folder === root ? ["--conditions=plinth-source"] : [];
  const args = [...sources, ...flags, join(folder, "test/programs", `${name}.${ending}`)];
  const [command, ...rest] =
    shell === undefined ? [process.execPath, ...args] : ["/bin/sh", "-c", shell, process.execPath, ...args];
  const program = await startProgram(command, rest, {
    folder,
    environment: {
      ...userEnvironment(),
      PLINTH_HTTP_PORT: String(http),
      PLINTH_GRPC_PORT: String(grpc),
      PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
      ...environment,
    },
  });
  const url = `${scheme}://127.0.0.1:${http}`;
  const opsUrl = opsPort === undefined ? url : `http://127.0.0.1:${opsPort}`;
  let ended = false;
  void program.exit.then(() => (ended = true));
  const isReady = async (): Promise<boolean> =>
    scheme === "https"
      ? program.stdout().includes('"app ready"')
      : ask(`${opsUrl}/ready`).then(
          ({ status }) => status === 200,
          () => false,
        );
  try {
    await until(
      async () => ended || (await isReady()),
      () => `${name} is not ready; it wrote:\n${program.stdout().slice(-4_000)}\n${program.stderr().slice(-4_000)}`,
      readyLimitMs,
    );
    if (ended) throw new Error(`${name} has ended; it wrote:\n${program.stdout()}\n${program.stderr()}`);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return {
    program,
    url,
    grpcAddress: `127.0.0.1:${grpc}`,
    metric: async (series, labels) => seriesOf((await ask(`${opsUrl}/metrics`)).text, series, labels),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
