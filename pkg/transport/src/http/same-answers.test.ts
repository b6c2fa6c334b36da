// The same questions over each protocol, to one set of routes: the answers are the same.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect, type Settings } from "node:http2";
import { request as tlsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppError } from "@plinth/kernel";
import { z } from "zod";
import type { Authenticator } from "../auth.ts";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { connectRoutes } from "../rpc/connect.ts";
import { rpcService } from "../rpc/service.ts";
import { makeCertificate } from "../testing/certificates.ts";
import { echoHandlers } from "../testing/grpc.ts";
import { layerDefaults, startHttp, type TestHttp } from "../testing/http.ts";
import { tlsSettings } from "../tls/settings.ts";
import { eventStream } from "./event-stream.ts";
import type { HttpApp } from "./server.ts";

const authority = makeCertificate({ name: "authority" });
const origin = "https://app.example";
const long = "long text, ".repeat(1_000);
const open = { config: { auth: "none" } } as const;

const authenticator: Authenticator = {
  authenticate: (incoming) =>
    incoming.header("authorization") === "Bearer good" ? { subject: "ada", scopes: [], claims: {} } : undefined,
};

async function routes(app: HttpApp): Promise<void> {
  app.get("/json", open, async () => ({ ok: true }));
  app.get("/long", open, async () => long);
  app.get("/none", open, async (_request, reply) => reply.code(204).send());
  app.get("/length", open, async (_request, reply) => reply.header("content-length", "3").send("longer than three"));
  app.get("/cookies", open, async ({ headers }, reply) =>
    reply.header("set-cookie", ["a=1", "b=2"]).send({ cookie: headers.cookie }),
  );
  app.get("/fault", open, async () => {
    throw new Error("internal text");
  });
  app.get("/refusal", open, async () => {
    throw new AppError("ERR_NOTE_NOT_FOUND", "not_found", "there is no such note");
  });
  app.get("/who", async ({ identity }) => ({ subject: identity?.subject }));
  app.get("/events", open, (_request, reply) =>
    eventStream(reply, async function* () {
      for (const data of ["one", "two"]) yield { data };
    }),
  );
  app.post("/echo", { ...open, schema: { body: z.object({ n: z.number() }) } }, async ({ body }) => body);
  const rpc = connectRoutes([rpcService(EchoService, echoHandlers, { auth: "none" })]);
  await app.register(async (scope) => rpc(scope));
}

interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string;
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly hasHsts: boolean;
  readonly body: string;
}

/** Of a connection, of a moment, or of TLS alone: not part of what is compared. */
const apart = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "date",
  "x-request-id",
  "strict-transport-security",
]);

function answerOf(headers: IncomingHttpHeaders, status: number | undefined, chunks: readonly Buffer[]): Answer {
  const kept = Object.entries(headers).filter(([name]) => !apart.has(name) && !name.startsWith(":"));
  const problem = /"(?:traceId)":"[0-9a-f]{32}"/;
  return {
    status,
    hasHsts: headers["strict-transport-security"] !== undefined,
    headers: Object.fromEntries(kept.toSorted(([one], [other]) => (one < other ? -1 : 1))),
    body: Buffer.concat(chunks).toString("latin1").replace(problem, '"traceId":"…"'),
  };
}

function overHttp1(url: string, { method = "GET", headers = {}, body }: Question): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = { method, headers, agent: false, ca: authority.cert };
  const asked = url.startsWith("https") ? tlsRequest(url, options) : request(url, options);
  asked.once("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.once("end", () => resolve(answerOf(response.headers, response.statusCode, chunks)));
    response.once("error", reject);
  });
  asked.once("error", reject);
  if (headers["expect"] === "100-continue") asked.once("continue", () => asked.end(body));
  else asked.end(body);
  return promise;
}

function overHttp2(url: string, { method = "GET", headers = {}, body }: Question): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { pathname, search, origin: server } = new URL(url);
  const session = connect(server, { ca: authority.cert });
  session.once("error", reject);
  const ends = body === undefined;
  const stream = session.request({ ...headers, ":method": method, ":path": pathname + search }, { endStream: ends });
  const chunks: Buffer[] = [];
  let head: IncomingHttpHeaders & { readonly ":status"?: number | undefined } = {};
  stream.once("response", (given) => (head = given));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.once("error", reject);
  // Node 24 does not tell of the close while a part of the request is left that nobody wants
  stream.once("end", () => {
    session.destroy();
    resolve(answerOf(head, head[":status"], chunks));
  });
  if (headers["expect"] === "100-continue") stream.once("continue", () => stream.end(body));
  else if (!ends) stream.end(body);
  return promise;
}

const json = { "content-type": "application/json" };
const questions: readonly (readonly [what: string, status: number, path: string, question?: Question])[] = [
  ["JSON", 200, "/json"],
  ["a query", 200, "/json?a=%20b&a=c"],
  ["HEAD", 200, "/json", { method: "HEAD" }],
  ["HEAD of a long reply", 200, "/long", { method: "HEAD", headers: { "accept-encoding": "gzip" } }],
  ["no content", 204, "/none"],
  ["a length that is wrong", 200, "/length"],
  ["cookies in two lines", 200, "/cookies", { headers: { cookie: ["a=1", "b=2"] } }],
  ["a fault", 500, "/fault"],
  ["a refusal", 404, "/refusal"],
  ["no route", 404, "/nowhere", { headers: { authorization: "Bearer good" } }],
  ["a method that no route has", 404, "/json", { method: "DELETE", headers: { authorization: "Bearer good" } }],
  ["TRACE", 405, "/json", { method: "TRACE" }],
  ["nobody known", 401, "/who"],
  ["somebody known", 200, "/who", { headers: { authorization: "Bearer good" } }],
  ["a long reply", 200, "/long"],
  ["a long reply, compressed", 200, "/long", { headers: { "accept-encoding": "gzip" } }],
  [
    "a page that asks first",
    204,
    "/json",
    {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET" },
    },
  ],
  ["a page", 200, "/json", { headers: { origin } }],
  ["a page of another origin", 200, "/json", { headers: { origin: "https://evil.example" } }],
  ["a body", 200, "/echo", { method: "POST", headers: json, body: '{"n":1}' }],
  [
    "a body after 100-continue",
    200,
    "/echo",
    {
      method: "POST",
      headers: { ...json, expect: "100-continue" },
      body: '{"n":1}',
    },
  ],
  ["another expectation", 417, "/echo", { method: "POST", headers: { ...json, expect: "tea" }, body: '{"n":1}' }],
  ["a body that does not fit", 400, "/echo", { method: "POST", headers: json, body: '{"n":"x"}' }],
  ["a body that is no JSON", 400, "/echo", { method: "POST", headers: json, body: "{" }],
  ["a body of another type", 415, "/echo", { method: "POST", headers: { "content-type": "text/x" }, body: "x" }],
  ["a body that is too large", 413, "/echo", { method: "POST", headers: json, body: `"${"x".repeat(100_000)}"` }],
  ["events", 200, "/events"],
  ["a call", 200, `/${EchoService.typeName}/Say`, { method: "POST", headers: json, body: '{"text":"x"}' }],
  ["a call that is wrong", 400, `/${EchoService.typeName}/Say`, { method: "POST", headers: json, body: '{"text":1}' }],
];

describe("one server over HTTP/1.1 and HTTP/2, in the clear and with TLS", { timeout: 60_000 }, () => {
  let folder = "";
  const servers: TestHttp[] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "plinth-same-"));
    const { cert, key } = makeCertificate({ issuer: authority });
    const [certFile, keyFile] = [join(folder, "crt"), join(folder, "key")];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    for (const tls of [undefined, tlsSettings.parse({ certFile, keyFile })]) {
      const settings = {
        http2: true,
        maxBodyBytes: 10_000,
        cors: { ...layerDefaults.cors, origins: [origin] },
        compression: { ...layerDefaults.compression, replies: true },
        ...(tls && { tls }),
      };
      servers.push(await startHttp({ routes, authenticator, settings }));
    }
  });
  after(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  for (const [what, status, path, question = {}] of questions)
    it(`answer alike: ${what}`, async () => {
      const [clear, secure] = servers.map(({ server: { port } }) => `127.0.0.1:${port}${path}`);
      const { hasHsts: _, ...expected } = await overHttp1(`http://${clear}`, question);
      assert.equal(expected.status, status, expected.body);
      for (const [ask, url] of [
        [overHttp2, `http://${clear}`],
        [overHttp1, `https://${secure}`],
        [overHttp2, `https://${secure}`],
      ] as const) {
        const { hasHsts: __, ...answer } = await ask(url, question);
        assert.deepEqual(answer, expected, `${ask.name} ${url}`);
      }
    });

  it("say by HSTS that TLS is to be used to those who come by it, and to nobody else", async () => {
    const [clear, secure] = servers.map(({ server: { port } }) => `127.0.0.1:${port}/json`);
    const hsts = async (ask: typeof overHttp1, url: string): Promise<boolean> => (await ask(url, {})).hasHsts;
    assert.deepEqual(
      [
        await hsts(overHttp1, `http://${clear}`),
        await hsts(overHttp2, `http://${clear}`),
        await hsts(overHttp1, `https://${secure}`),
        await hsts(overHttp2, `https://${secure}`),
      ],
      [false, false, true, true],
    );
  });

  it("open no WebSocket over HTTP/2, and say so to who asks for an upgrade", async () => {
    for (const [at, scheme] of [
      [0, "http"],
      [1, "https"],
    ] as const) {
      const session = connect(`${scheme}://127.0.0.1:${servers[at]?.server.port}`, { ca: authority.cert });
      const settings: Settings = await new Promise((resolve) => session.once("remoteSettings", resolve));
      assert.equal(settings.enableConnectProtocol ?? false, false, "RFC 8441: it is not offered");
      const stream = session.request({ ":method": "CONNECT", ":path": undefined, ":authority": "a:1" });
      const status = await new Promise((resolve) => stream.once("response", (head) => resolve(head[":status"])));
      assert.equal(status, 405);
      stream.on("error", () => {}).close();
      session.close();
    }
  });
});
