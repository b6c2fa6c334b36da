// A gateway and instances of one service behind it, each a process of its own, that find each other through a registry; and load that
// flows through it all while a test breaks something.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ask, seriesOf } from "./http.ts";
import { asRecord } from "./json.ts";
import { type Load, startLoad } from "./load.ts";
import { type Program, startProgram, userEnvironment } from "./program.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");
const startLimitMs = 60_000;
const sampleMs = 200;

/** Short ones: what takes minutes in earnest shall take seconds. */
const shortLimits: Readonly<Record<string, string>> = {
  PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "200",
  PLINTH_REGISTRY_TTL_MS: "6000",
  PLINTH_CONSUL_WAIT_MS: "3000",
  PLINTH_CONSUL_REQUEST_TIMEOUT_MS: "1500",
};

export interface FleetOptions {
  /** For all its programs: where the registry is, above all. */
  readonly environment: Readonly<Record<string, string>>;
  /** For the gateway alone. */
  readonly gatewayEnvironment?: Readonly<Record<string, string>>;
  /** How many. Default 2. */
  readonly instances?: number;
}

export interface Member extends AsyncDisposable {
  readonly program: Program;
  readonly port: number;
  /** Of what it serves. */
  readonly url: string;
  /** Of `/healthz`, `/ready` and `/metrics`. */
  readonly opsUrl: string;
  /** The sum of the series of a metric that have these labels. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Its log so far, without the lines of requests. */
  log(): string;
}

export interface Fleet extends AsyncDisposable {
  /** That of all its programs. */
  readonly environment: Readonly<Record<string, string>>;
  readonly gateway: Member;
  readonly instances: readonly Member[];
  /** One more. */
  add(environment?: Readonly<Record<string, string>>): Promise<Member>;
  load(perSecond?: number): FleetLoad;
}

/** What came of the load: `sent` requests, of which `failed` had no good reply, and why. */
export interface FleetReport {
  readonly sent: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  /** Writes that had their effect more than once, or were answered 201 and had none. */
  readonly wrongWrites: readonly string[];
  /** What the gateway's own endpoints answered meanwhile: `/ready 200` and how often. */
  readonly probes: Readonly<Record<string, number>>;
  readonly slowestProbeMs: number;
}

export interface FleetLoad {
  /** Waits until so many more replies have come. */
  untilMore(replies: number): Promise<void>;
  /** Failed so far. */
  failed(): number;
  /** Ends it, and balances the books. */
  stop(): Promise<FleetReport>;
}

/** Starts it; every instance is in use when it resolves. */
export async function startFleet({ environment, gatewayEnvironment, instances = 2 }: FleetOptions): Promise<Fleet> {
  const members: Member[] = [];
  const add = async (more: Readonly<Record<string, string>> = {}): Promise<Member> => {
    const member = await startMember("fleet-service", { ...environment, ...more });
    members.push(member);
    return member;
  };
  const gateway = await startMember("fleet-gateway", { ...environment, ...gatewayEnvironment });
  const dispose = async (): Promise<void> => {
    await Promise.all([gateway, ...members].map((member) => member[Symbol.asyncDispose]()));
  };
  try {
    await Promise.all(Array.from({ length: instances }, () => add()));
    await untilInUse(gateway, members);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    environment,
    gateway,
    instances: members,
    add,
    load: (perSecond = 100) => startFleetLoad(gateway, members, perSecond),
    [Symbol.asyncDispose]: dispose,
  };
}

/** Starts `test/programs/NAME.ts`; resolves when it answers that it lives, whether it is ready or not. */
export async function startMember(name: string, environment: Readonly<Record<string, string>>): Promise<Member> {
  const [free = 0, ops = 0] = await findFreePorts(2);
  const port = Number(environment["PLINTH_HTTP_PORT"] ?? free);
  const program = await startProgram(
    process.execPath,
    ["--conditions=plinth-source", join(root, "test/programs", `${name}.ts`)],
    {
      folder: root,
      environment: {
        ...userEnvironment(),
        ...shortLimits,
        ...(name === "fleet-gateway"
          ? { PLINTH_GATEWAY_PORT: String(port), PLINTH_OPS_PORT: String(ops) }
          : { PLINTH_HTTP_PORT: String(port) }),
        ...environment,
      },
    },
  );
  const opsUrl = `http://127.0.0.1:${name === "fleet-gateway" ? ops : port}`;
  const log = (): string =>
    [program.stdout(), program.stderr()]
      .join("\n")
      .split("\n")
      .filter((line) => line !== "" && !line.includes('"message":"request"'))
      .slice(-40)
      .join("\n");
  let ended = false;
  void program.exit.then(() => (ended = true));
  try {
    await until(
      async () => {
        if (ended) throw new Error(`${name} has ended; it wrote:\n${log()}`);
        return ask(`${opsUrl}/healthz`).then(
          ({ status }) => status === 200,
          () => false,
        );
      },
      () => `${name} lives; it wrote:\n${log()}`,
      startLimitMs,
    );
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return {
    program,
    port,
    url: `http://127.0.0.1:${port}`,
    opsUrl,
    metric: async (series, labels) => seriesOf((await ask(`${opsUrl}/metrics`)).text, series, labels),
    log,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Waits until the gateway has sent each of them a request. */
export async function untilInUse(gateway: Member, members: readonly Member[], limitMs = startLimitMs): Promise<void> {
  const missing = new Set(members.map(({ program }) => program.pid));
  await until(
    async () => {
      const answer = await ask(`${gateway.url}/items`).catch(() => undefined);
      if (answer?.status === 200) missing.delete(Number(asRecord(answer.json())["pid"]));
      return missing.size === 0;
    },
    () => `traffic at ${[...missing].join()}; the gateway wrote:\n${gateway.log()}`,
    limitMs,
  );
}

/** Four reads to each write, each write with an id of its own. */
export function startFleetLoad(gateway: Member, members: readonly Member[], perSecond: number): FleetLoad {
  let turn = 0;
  const next = () =>
    turn++ % 5 === 0
      ? {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ id: `write-${turn}` }),
        }
      : {};
  const load = startLoad({ url: `${gateway.url}/items`, connections: 16, perSecond, next });
  const probing = probe(gateway);
  const failuresOf = (report: Awaited<ReturnType<Load["stop"]>>): Record<string, number> => {
    const failures: Record<string, number> = {};
    const count = (why: string, times: number): void => void (failures[why] = (failures[why] ?? 0) + times);
    for (const [status, times] of Object.entries(report.statuses)) {
      if (status !== "200" && status !== "201") count(status, times);
    }
    for (const why of report.broken) count(why, 1);
    if (report.refused > 0) count("refused", report.refused);
    if (report.unaccepted > 0) count("unaccepted", report.unaccepted);
    return failures;
  };
  const sum = (counts: Readonly<Record<string, number>>): number =>
    Object.values(counts).reduce((total, each) => total + each, 0);
  return {
    untilMore: (replies) => load.untilMore(replies),
    failed: () => sum(failuresOf(load.report())),
    async stop() {
      const report = await load.stop();
      const { probes, slowestMs } = await probing.stop();
      const failures = failuresOf(report);
      const good = (report.statuses["200"] ?? 0) + (report.statuses["201"] ?? 0);
      return {
        sent: good + sum(failures),
        failed: sum(failures),
        failures,
        wrongWrites: await wrongWrites(members, report.statuses["201"] ?? 0),
        probes,
        slowestProbeMs: Math.round(slowestMs),
      };
    },
  };
}

/** Of members that have not been ended: their counts go with them. */
async function wrongWrites(members: readonly Member[], answered: number): Promise<string[]> {
  const counts = new Map<string, number>();
  let ended = 0;
  for (const { url } of members) {
    const answer = await ask(`${url}/effects`).catch(() => undefined);
    if (answer === undefined) ended++;
    const effects = answer === undefined ? {} : asRecord(answer.json());
    for (const [id, times] of Object.entries(effects)) counts.set(id, (counts.get(id) ?? 0) + Number(times));
  }
  const wrong = [...counts].filter(([, times]) => times !== 1).map(([id, times]) => `${id}: ${times} times`);
  if (ended === 0 && counts.size < answered) wrong.push(`${answered} were answered 201, ${counts.size} were done`);
  return wrong;
}

function probe({ opsUrl }: Member): {
  stop(): Promise<{ readonly probes: Record<string, number>; readonly slowestMs: number }>;
} {
  const probes: Record<string, number> = {};
  let slowestMs = 0;
  const over = new AbortController();
  const looking = (async () => {
    while (!over.signal.aborted) {
      for (const path of ["/healthz", "/ready"]) {
        const askedAtMs = performance.now();
        const status = await ask(`${opsUrl}${path}`).then(
          (answer) => String(answer.status),
          () => "none",
        );
        slowestMs = Math.max(slowestMs, performance.now() - askedAtMs);
        probes[`${path} ${status}`] = (probes[`${path} ${status}`] ?? 0) + 1;
      }
      await delay(sampleMs, undefined, { signal: over.signal }).catch(() => undefined); // ended
    }
  })();
  return {
    async stop() {
      over.abort();
      await looking;
      return { probes, slowestMs };
    },
  };
}
