// Instances of Identity, each a process of its own, and calls that flow to them through the service clients while a test breaks something.
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "@plinth/kernel";
import { createServiceClients, type IdentityClient, type ServiceClients, userId } from "@plinth/services";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ask } from "./http.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";
import { until } from "./until.ts";

export const wires = ["grpc", "http"] as const;
export type Wire = (typeof wires)[number];

const root = join(import.meta.dirname, "../..");
const limitMs = 60_000;

/** How an instance does; see `test/programs/counted-identity.ts`. */
export interface Mood {
  readonly delayMs?: number;
  readonly failing?: number;
  readonly retryAfterSeconds?: number;
  readonly replyBytes?: number;
}

export interface Instance {
  readonly name: string;
  /** `127.0.0.1:port`; the same after it was started again. */
  readonly address: Readonly<Record<Wire, string>>;
  program(): Program;
  mood(mood: Mood): Promise<void>;
  /** Sends a signal that ends it, and waits until it has ended. */
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  /** On the same ports; it is ready when this resolves. */
  start(): Promise<void>;
}

/** A call that has reached an instance. */
export interface Entry {
  /** `left`: its caller did, before it was answered. */
  readonly kind: "read" | "write" | "left";
  readonly id: string;
  readonly instance: string;
  readonly atMs: number;
}

export interface IdentityFleet extends AsyncDisposable {
  readonly instances: readonly Instance[];
  /** One more. */
  add(): Promise<Instance>;
  addresses(wire: Wire): readonly string[];
  /** What has reached any instance, in the order in which it was written. */
  book(): readonly Entry[];
  /** All as in the beginning: running, each in its first mood. */
  heal(): Promise<void>;
}

export async function startIdentityFleet(count = 3): Promise<IdentityFleet> {
  const folder = await mkdtemp(join(tmpdir(), "plinth-fleet-"));
  const path = join(folder, "book");
  const instances: Instance[] = [];
  const dispose = async (): Promise<void> => {
    await Promise.all(instances.map((instance) => instance.program()[Symbol.asyncDispose]()));
    await rm(folder, { recursive: true });
  };
  const add = async (): Promise<Instance> => {
    const instance = await startInstance(`identity-${instances.length}`, path);
    instances.push(instance);
    return instance;
  };
  try {
    // with the first, the others find what it has compiled
    for (let n = 0; n < count; n++) await add();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    instances,
    add,
    addresses: (wire) => instances.map(({ address }) => address[wire]),
    book: () => readBook(path),
    async heal() {
      for (const instance of instances) {
        instance.program().signal("SIGCONT");
        if (!(await isReady(instance.address.http))) await instance.start();
        await instance.mood({});
      }
    },
    [Symbol.asyncDispose]: dispose,
  };
}

function readBook(path: string): readonly Entry[] {
  const lines = readFileSync(path, { encoding: "utf8", flag: "a+" }).split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => {
      const [kind, id = "", instance = "", atMs] = line.split(" ");
      if (kind !== "read" && kind !== "write" && kind !== "left") throw new Error(`the book has "${line}"`);
      return { kind, id, instance, atMs: Number(atMs) };
    });
}

const isReady = (address: string): Promise<boolean> =>
  ask(`http://${address}/ready`).then(
    ({ status }) => status === 200,
    () => false,
  );

async function startInstance(name: string, book: string): Promise<Instance> {
  const [http = 0, grpc = 0] = await findFreePorts(2);
  const address = { http: `127.0.0.1:${http}`, grpc: `127.0.0.1:${grpc}` };
  const run = async (): Promise<Program> => {
    const file = join(root, "test/programs/counted-identity.ts");
    const program = await startProgram(process.execPath, ["--conditions=plinth-source", file], {
      folder: root,
      environment: {
        ...userEnvironment(),
        PLINTH_HTTP_PORT: String(http),
        PLINTH_GRPC_PORT: String(grpc),
        PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
        BOOK: book,
        INSTANCE: name,
      },
    });
    let hasEnded = false;
    void program.exit.then(() => (hasEnded = true));
    const wrote = (): string => `${program.stdout().slice(-2_000)}\n${program.stderr().slice(-2_000)}`;
    try {
      await until(
        async () => hasEnded || (await isReady(address.http)),
        () => `${name} is not ready; it wrote:\n${wrote()}`,
        limitMs,
      );
      if (hasEnded) throw new Error(`${name} has ended; it wrote:\n${wrote()}`);
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
    return program;
  };
  let program = await run();
  return {
    name,
    address,
    program: () => program,
    mood: async (mood) => void (await ask(`http://${address.http}/mood`, { body: mood })),
    async end(signal) {
      program.signal(signal);
      await program.exit;
    },
    start: async () => void (program = await run()),
  };
}

/** What came of the calls of one load. */
export interface CallsReport {
  /** Ids of idempotent calls, and of others. */
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** What they failed with, by their ids. */
  readonly failedReads: ReadonlyMap<string, AppError>;
  readonly failedWrites: ReadonlyMap<string, AppError>;
  /** Of calls that were answered, in milliseconds, the quickest first. */
  readonly tookMs: readonly number[];
}

export interface Calls {
  /** Waits until so many more have come to an end. */
  untilMore(calls: number): Promise<void>;
  failedReads(): number;
  /** So many more at once. */
  begin(calls: number): void;
  /** Begins no more, waits for those under way. */
  stop(): Promise<CallsReport>;
}

let loads = 0;

/**
 * Calls that begin at a rate of their own, however long those before them take.
 * @param options.perSecond - Default 100.
 * @param options.writeRatio - The share of those that are not idempotent. Default 0.2.
 */
export function startCalls(
  client: Pick<IdentityClient, "getUser" | "startEmailVerification">,
  { perSecond = 100, writeRatio = 0.2 }: { readonly perSecond?: number; readonly writeRatio?: number } = {},
): Calls {
  const load = `l${loads++}`;
  const reads: string[] = [];
  const writes: string[] = [];
  const failedReads = new Map<string, AppError>();
  const failedWrites = new Map<string, AppError>();
  const tookMs: number[] = [];
  const underWay = new Set<Promise<void>>();
  let ended = 0;
  let begun = 0;
  const startedAtMs = performance.now();
  const one = async (isWrite: boolean): Promise<void> => {
    const kind = isWrite ? "w" : "r";
    const sent = isWrite ? writes : reads;
    const id = `${load}-${kind}${sent.length}`;
    sent.push(id);
    const fromMs = performance.now();
    try {
      await (isWrite ? client.startEmailVerification(userId(id)) : client.getUser(userId(id)));
      tookMs.push(performance.now() - fromMs);
    } catch (error) {
      (isWrite ? failedWrites : failedReads).set(id, AppError.from(error));
    }
    ended++;
  };
  const begin = (calls: number): void => {
    for (let n = 0; n < calls; n++) {
      begun++;
      const call = one(Math.floor(begun * writeRatio) > Math.floor((begun - 1) * writeRatio));
      underWay.add(call);
      void call.finally(() => underWay.delete(call));
    }
  };
  let due = 0;
  const timer = setInterval(() => {
    const now = Math.floor(((performance.now() - startedAtMs) / 1_000) * perSecond);
    // a process that stood still does not make up for all of it at once
    begin(Math.min(now - due, perSecond / 10));
    due = now;
  }, 10);
  return {
    untilMore(calls) {
      const wanted = ended + calls;
      return until(
        () => ended >= wanted,
        () => `${calls} more calls; ${ended} of ${begun} have ended`,
        limitMs,
      );
    },
    failedReads: () => failedReads.size,
    begin,
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
      return { reads, writes, failedReads, failedWrites, tookMs: tookMs.toSorted((a, b) => a - b) };
    },
  };
}

/** Words for a table: how often each code came. */
export function codesOf(failed: ReadonlyMap<string, AppError>): string {
  const counts = new Map<string, number>();
  for (const { code, status } of failed.values())
    counts.set(`${code} ${status}`, (counts.get(`${code} ${status}`) ?? 0) + 1);
  return [...counts].map(([code, count]) => `${count} ${code}`).join(", ") || "none";
}

/** What no fault excuses: a write that was done twice, or answered and not done. */
export function wrongWrites({ writes, failedWrites }: CallsReport, book: readonly Entry[]): readonly string[] {
  const done = new Map<string, number>();
  for (const { kind, id } of book) if (kind === "write") done.set(id, (done.get(id) ?? 0) + 1);
  return writes.flatMap((id) => {
    const times = done.get(id) ?? 0;
    if (times > 1) return [`${id} was done ${times} times`];
    return times === 0 && !failedWrites.has(id) ? [`${id} was answered and not done`] : [];
  });
}

type ServicesOptions = NonNullable<NonNullable<Parameters<typeof createServiceClients>[0]>["services"]>;
export type CallingOptions = NonNullable<ServicesOptions["identity"]>;

export interface Calling extends AsyncDisposable {
  readonly clients: ServiceClients;
  readonly identity: IdentityClient;
  /** What the channel of Identity says of itself. */
  channel(): NonNullable<ReturnType<ServiceClients["describe"]>["identity"]>;
}

/** Clients as an app has them. */
export async function callIdentity(
  wire: Wire,
  addresses: readonly string[],
  options: CallingOptions = {},
): Promise<Calling> {
  const own = { transport: wire, find: { addresses }, ...options };
  const clients = await createServiceClients({
    services: { identity: own, audit: { transport: wire, find: own.find } },
  });
  return {
    clients,
    identity: clients.identity,
    channel() {
      const { identity } = clients.describe();
      if (!identity) throw new Error("the channel of Identity is not open");
      return identity;
    },
    [Symbol.asyncDispose]: () => clients.close(),
  };
}
