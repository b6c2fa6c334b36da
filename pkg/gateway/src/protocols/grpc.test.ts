import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from "node:http2";
import { it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { openRoute, rawClient, startGateway } from "../testing/kit.ts";

/** The status of a call once it has ended, wherever it stands; `none` without one. */
function call(session: ClientHttp2Session, path: string): Promise<string> {
  const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
  let status = "none";
  const look = (fields: object): void => {
    if ("grpc-status" in fields) status = String(fields["grpc-status"]);
  };
  stream.on("response", look).on("trailers", look);
  stream.on("error", () => undefined).resume();
  return new Promise((resolve) => stream.once("close", () => resolve(status)));
}

it("a call of gRPC to a service over HTTP/1.1 ends with a head alone, in the log as grpc_unsupported", async () => {
  await using gateway = await startGateway({ routes: [openRoute()], settings: { http2: { cleartext: true } } });
  const session = connect(gateway.url);
  const stream = session.request({ ":method": "POST", ":path": "/a.B/C", "content-type": "application/grpc+proto" });
  const got = Promise.withResolvers<unknown[]>();
  stream.on("response", (headers, flags) => got.resolve([headers[":status"], headers["grpc-status"], flags & 1]));
  assert.deepEqual(await got.promise, [200, "12", 1]);
  session.destroy();
  const line = await gateway.lastLine();
  assert.deepEqual([line.status, line.reason], [501, "grpc_unsupported"]);
});

it("calls that are open at the end of a drain end with UNAVAILABLE, begun or not, ahead of the end of their connection", async () => {
  let open = 0;
  const instance = createServer().on("stream", (stream: ServerHttp2Stream, headers) => {
    open++;
    stream.on("error", () => undefined).once("close", () => open--);
    if (headers[":path"] === "/wait") return;
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.write(Buffer.from([0, 0, 0, 0, 1, 7]));
  });
  instance.listen(0, "127.0.0.1");
  await once(instance, "listening");
  const address = instance.address();
  assert.ok(typeof address === "object" && address !== null);
  await using running = await startGateway({
    document: { routes: [openRoute({ timeoutMs: 0 })], services: { s: { protocol: "http2" } } },
    settings: { http2: { cleartext: true } },
  });
  await running.add({ port: address.port });
  const session = connect(running.url).on("error", () => undefined);
  const half = call(session, "/half");
  const waiting = call(session, "/wait");
  const plain = await rawClient(running.gateway.port);
  plain.send("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.match(await plain.matching(/\r\n\r\n/), /^HTTP\/1\.1 200/);
  await until(() => open === 3);
  const limit = AbortSignal.abort();
  await running.gateway.drain({ signal: limit });
  assert.deepEqual(await Promise.all([half, waiting]), ["14", "14"]);
  assert.doesNotMatch(await plain.toEnd(), /\r\n0\r\n\r\n$/, "half a stream of HTTP/1.1 is not taken for a whole one");
  await until(() => open === 0, { what: "the end of the calls at the instance" });
  const lines = await running.lines(3);
  for (const line of lines) assert.deepEqual([line["status"], line["reason"]], [503, "gateway_stopped"]);
  instance.close();
});
