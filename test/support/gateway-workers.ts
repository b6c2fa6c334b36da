// plinth-gateway with workers in front of an origin of this process, and what operators see of it.
import { once } from "node:events";
import { createHash } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get, type RequestOptions, type Server } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { start } from "../kernel/program.ts";
import { asRecord } from "./json.ts";
import { until } from "./until.ts";
import type { Program } from "./program.ts";

const main = join(import.meta.dirname, "../../cmd/gateway/src/main.ts");
const limitMs = 60_000;

export interface WorkersSetup {
  /** Of `/limited`, in a minute. */
  readonly limit?: number;
  /** Whether that is counted in Redis. Default false. */
  readonly isShared?: boolean;
  /** Of `/capped`, at one time. Default 4. */
  readonly places?: number;
  readonly workers?: number;
  /** Public key of the issuer whose tokens `/private` takes. Default: there is no such route. */
  readonly jwk?: object;
  /** Program. Default: that of plinth-gateway. */
  readonly main?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface GatewayWorkers extends AsyncDisposable {
  readonly program: Program;
  readonly url: string;
  /** Requests for `/capped` that the origin has had under way at one time at most, since this was last asked. */
  readonly most: () => number;
  readonly opsUrl: string;
  /** On a connection of its own, or of `agent`. Status 0 where it failed. */
  get(
    path: string,
    options?: Pick<RequestOptions, "agent" | "headers" | "localAddress">,
  ): Promise<{ readonly status: number; readonly body: string }>;
  write(setup: WorkersSetup): void;
  routes(): Promise<RoutesState>;
  metric(series: string): Promise<number>;
}

export interface RoutesState {
  readonly generation: number;
  readonly workers: readonly { readonly pid: number; readonly generation: number; readonly isReady: boolean }[];
}

function documentOf({ limit = 1_000_000, isShared = false, places = 4, jwk }: WorkersSetup): string {
  const route = { service: "s", anonymous: true };
  const routes = [
    { ...route, name: "all", match: { path: "/**" } },
    {
      ...route,
      name: "limited",
      match: { path: "/limited" },
      rateLimit: { limit, windowMs: 60_000, by: "address", shared: isShared },
    },
    { ...route, name: "socket", match: { path: "/socket" }, websocket: true },
    {
      ...route,
      name: "capped",
      match: { path: "/capped" },
      concurrency: { maxInFlight: places, maxQueue: 1_000, maxWaitMs: 30_000 },
    },
  ];
  if (!jwk) return JSON.stringify({ routes });
  const jwt = { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [jwk] } } };
  const guarded = { name: "private", match: { path: "/private" }, service: "s", auth: {} };
  return JSON.stringify({ jwt, routes: [...routes, guarded] });
}

/** Answers at once; `/capped` after a moment; in a WebSocket `ok`, whatever it is sent. */
async function startOrigin(): Promise<{ readonly server: Server; readonly port: number; readonly most: () => number }> {
  let underWay = 0;
  let most = 0;
  const server = createServer((request, response) => {
    if (request.url !== "/capped") {
      response.end("ok");
      return;
    }
    most = Math.max(most, ++underWay);
    response.on("close", () => underWay--);
    setTimeout(() => response.end("ok"), 20);
  }).listen(0, "127.0.0.1");
  server.on("upgrade", ({ headers }, socket: Socket) => answerIn(socket, String(headers["sec-websocket-key"])));
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the origin has no port");
  const mostUntilNow = (): number => {
    const was = most;
    most = underWay;
    return was;
  };
  return { server, port: address.port, most: mostUntilNow };
}

/** Frames of RFC 6455: a text, and where one says farewell the same. */
function answerIn(socket: Socket, key: string): void {
  const accepted = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  socket.write(`${head}Sec-WebSocket-Accept: ${accepted}\r\n\r\n`);
  socket.on("error", () => socket.destroy());
  socket.on("data", ([first = 0]: Buffer) => {
    if ((first & 0x0f) === 8) socket.end(Buffer.from([0x88, 2, 3, 0xe8]));
    else socket.write(Buffer.from([0x81, 2, ...Buffer.from("ok")]));
  });
}

export async function startGatewayWorkers(setup: WorkersSetup = {}): Promise<GatewayWorkers> {
  const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-workers-"));
  const file = join(folder, "gateway.yaml");
  const write = (next: WorkersSetup): void => {
    writeFileSync(`${file}.next`, documentOf(next));
    renameSync(`${file}.next`, file);
  };
  write(setup);
  const origin = await startOrigin();
  const [port = 0, opsPort = 0] = await findFreePorts(2);
  const program = await start(setup.main ?? main, ["--config", file], {
    PLINTH_GATEWAY_WORKERS: String(setup.workers ?? 2),
    PLINTH_GATEWAY_PORT: String(port),
    PLINTH_GATEWAY_ACCESS_LOG: "false",
    PLINTH_GATEWAY_MAX_LOOP_DELAY_MS: "0",
    PLINTH_OPS_PORT: String(opsPort),
    PLINTH_REGISTRY_DRIVER: "static",
    PLINTH_REGISTRY_SERVICES: JSON.stringify({ s: [{ host: "127.0.0.1", ports: { http: origin.port } }] }),
    PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "100",
    ...setup.environment,
  });
  const url = `http://127.0.0.1:${port}`;
  const ask: GatewayWorkers["get"] = (path, options) =>
    askOf(path.startsWith("http") ? path : `${url}${path}`, options);
  const opsUrl = `http://127.0.0.1:${opsPort}`;
  const ops = async (path: string): Promise<string> => (await ask(`${opsUrl}${path}`)).body;
  await until(() => program.stdout().includes("all workers ready"), `all are ready: ${program.stderr()}`, limitMs);
  return {
    program,
    url,
    opsUrl,
    most: origin.most,
    get: ask,
    write,
    routes: async () => toRoutesState(await ops("/routes")),
    metric: async (series) => Number(lineOf(await ops("/metrics"), series) ?? NaN),
    [Symbol.asyncDispose]: async () => {
      await program[Symbol.asyncDispose]();
      origin.server.closeAllConnections();
      origin.server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function askOf(url: string, options: Parameters<GatewayWorkers["get"]>[1]): ReturnType<GatewayWorkers["get"]> {
  try {
    const request = get(url, { agent: false, ...options });
    const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number; readonly body: string }>();
    request.once("error", reject);
    request.once("response", (response) => {
      const { statusCode: status = 0 } = response;
      text(response).then((body) => resolve({ status, body }), reject);
    });
    return await promise;
  } catch {
    return { status: 0, body: "" };
  }
}

function lineOf(metrics: string, series: string): string | undefined {
  return metrics
    .split("\n")
    .find((line) => line.startsWith(`${series} `))
    ?.split(" ")[1];
}

function toRoutesState(body: string): RoutesState {
  const { generation, workers } = asRecord(JSON.parse(body === "" ? "{}" : body));
  const all: unknown[] = Array.isArray(workers) ? workers : [];
  return {
    generation: Number(generation),
    workers: all.map((each) => {
      const { pid, generation: own, isReady } = asRecord(each);
      return { pid: Number(pid), generation: Number(own), isReady: isReady === true };
    }),
  };
}
