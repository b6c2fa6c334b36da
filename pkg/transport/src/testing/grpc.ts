import {
  type Clock,
  createHealth,
  createTracing,
  type Health,
  type RequestScopes,
  systemClock,
  type Tracing,
} from "@plinth/kernel";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { type RpcHandlers, rpcService } from "../rpc/service.ts";
import type { Authenticator } from "../auth.ts";
import type { LoopDelay } from "../loop-delay.ts";
import type { Middleware } from "../middleware.ts";
import { type Layers, observe, type Observed } from "./http.ts";
import { createGrpcServer, type GrpcServer } from "../grpc/server.ts";
import type { GrpcSettings } from "../grpc/settings.ts";
import { EchoClient } from "./grpc-client.ts";

export interface TestGrpcOptions {
  /** Replace those of {@link echoHandlers}. */
  readonly handlers?: Partial<RpcHandlers<typeof EchoService>>;
  readonly settings?: Partial<GrpcSettings>;
  readonly clock?: Clock;
  readonly tracing?: Tracing;
  readonly scopes?: RequestScopes;
  readonly loopDelay?: LoopDelay;
  readonly instanceId?: string;
  readonly middlewares?: readonly Middleware[];
  readonly authenticator?: Authenticator;
  /** What the server is given in place of its log or metrics, made of them. */
  readonly replace?: (layers: Layers) => Partial<Layers>;
}

/** A listening gRPC server on a free port, with a client; both are closed at the end of its `await using` block. */
export interface TestGrpc extends Observed, AsyncDisposable {
  readonly server: GrpcServer;
  readonly health: Health;
  readonly client: EchoClient;
}

/** Says back what it is told. */
export const echoHandlers: RpcHandlers<typeof EchoService> = {
  say: ({ text, big, data }) => ({ text, big, data }),
  async *count({ to, padding }) {
    for (let number = 1; number <= to; number++) yield { number, padding: new Uint8Array(padding) };
  },
  async collect(requests) {
    const texts: string[] = [];
    for await (const { text } of requests) texts.push(text);
    return { text: texts.join(" ") };
  },
  async *chat(requests) {
    for await (const { text } of requests) yield { text: `you said ${text}` };
  },
};

export async function startGrpc(options: TestGrpcOptions = {}): Promise<TestGrpc> {
  const { handlers = {}, settings = {}, clock = systemClock, tracing = createTracing(), replace } = options;
  const observed = await observe(clock);
  const health = createHealth({ clock });
  health.register({ name: "fine", intervalMs: Infinity, run: () => {} });
  health.setPhase("ready");
  const { log, errors, metrics } = observed;
  const server = await createGrpcServer({
    settings: { ...testSettings, ...settings },
    log,
    errors,
    metrics,
    tracing,
    clock,
    health,
    scopes: options.scopes,
    loopDelay: options.loopDelay,
    instanceId: options.instanceId,
    middlewares: options.middlewares,
    authenticator: options.authenticator,
    services: [rpcService(EchoService, { ...echoHandlers, ...handlers })],
    ...replace?.({ log, metrics }),
  });
  await server.listen();
  const client = new EchoClient(server.port);
  return {
    ...observed,
    server,
    health,
    client,
    async [Symbol.asyncDispose]() {
      client.close();
      await server.close();
    },
  };
}

export const testSettings: GrpcSettings = {
  host: "127.0.0.1",
  port: 0,
  socketMode: "660",
  reusePort: false,
  maxConnections: 10_000,
  deadlineMs: 10_000,
  maxMessageBytes: 4_194_304,
  maxReplyBytes: 4_194_304,
  maxConcurrentStreams: 100,
  maxLoopDelayMs: 1_000,
  maxConcurrentCalls: 10_000,
  idleTimeoutMs: 600_000,
  prefaceTimeoutMs: 10_000,
  keepaliveMs: 60_000,
  keepaliveTimeoutMs: 20_000,
  minPingIntervalMs: 10_000,
  pingWithoutCalls: true,
  maxConnectionAgeMs: 0,
  maxConnectionAgeGraceMs: 30_000,
  maxConnectionIdleMs: 900_000,
  reflection: false,
  auth: "required",
  accessLog: true,
  accessLogSampleRatio: 1,
  accessLogSlowMs: 1_000,
  trustedProxies: [],
  forwardedBy: "x-forwarded-for",
  trustedPeers: ["loopback", "private", "unix"],
};
