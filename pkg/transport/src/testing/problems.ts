import assert from "node:assert/strict";
import type { RawReply, TestHttp } from "./http.ts";

/** The reply is a whole problem of this status and code, with the ids to find it by. */
export function assertProblem(reply: RawReply, status: number, code: string): void {
  assert.equal(reply.headers["content-type"], "application/problem+json");
  assert.equal(reply.headers["content-length"], String(reply.body.length));
  const problem: unknown = JSON.parse(reply.body);
  assert.ok(typeof problem === "object" && problem !== null, reply.body);
  const told = ["status", "code"].map((name): unknown => Reflect.get(problem, name));
  assert.deepEqual([reply.status, ...told], [status, status, code], reply.body);
  assert.match(String(Reflect.get(problem, "traceId")), /^[0-9a-f]{32}$/);
  assert.match(reply.headers["x-request-id"] ?? "", /^[A-Za-z0-9_.:-]{8,128}$/);
}

/** How many malformed requests a server has counted. Waits until there are so many. */
export async function malformedCount(http: TestHttp, atLeast = 0): Promise<number> {
  for (;;) {
    const { body } = await http.metrics.expose();
    const count = Number(/^http_server_malformed_requests_total (\d+)$/m.exec(body)?.[1] ?? 0);
    if (count >= atLeast) return count;
    await new Promise(setImmediate);
  }
}

/** The statuses of all replies that a connection has received, in order; interim ones too. */
export function statusesOf(received: string): readonly number[] {
  return Array.from(received.matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status));
}
