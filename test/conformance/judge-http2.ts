import assert from "node:assert/strict";
import { until } from "@plinth/kernel/testing";
import { reasons } from "../../pkg/gateway/src/reasons.ts";
import { exchangeRaw } from "../../pkg/gateway/src/testing/kit.ts";
import { withFields } from "../../pkg/transport/src/testing/http2-attacks.ts";
import { RawHttp2 } from "../../pkg/transport/src/testing/http2-frames.ts";
import { type Stand, judgeRequest } from "./judge.ts";
import type { Http2Row } from "./tables/http2-row.ts";

let turns = 0;

/** Beside {@link Http2Row.fields}, all that an origin may be told by a request of these tables. */
const forwarded = new Set([
  "host",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "via",
  "x-request-id",
  "traceparent",
  "plinth-timeout-ms",
  "content-length",
  "content-type",
  "transfer-encoding",
  "connection",
]);

/**
 * Sends a row over HTTP/2, and holds what comes of it to the row and to what holds for all: the connection is ended or serves the next
 * request, a stranger over HTTP/1.1 is served, and what has gone on to the origin in HTTP/1.1 can be read in one way only, has the
 * fields that it may have, and is what the origin itself says that it has read.
 */
export async function judgeHttp2({ running, origin, tap }: Stand, row: Http2Row): Promise<void> {
  const turn = ++turns;
  const { reaches = [], mayReach = 0, stream = 1 } = row;
  const before = origin.seen().length;
  using caller = new RawHttp2(running.gateway.port);
  await row.send(caller);
  const answer = await answerOf(caller, stream);
  assert.match(answer, row.answer);
  const own = [`GET /stranger-${turn}`];
  if (/^(goaway|closed)/.test(answer)) await caller.closed;
  else {
    caller.head(200_001, withFields([":path", `/after-${turn}`]));
    assert.equal(await caller.answer(200_001), "200", "the connection goes on");
    own.push(`GET /after-${turn}`);
    caller.destroy();
  }
  const stranger = `GET /stranger-${turn} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  assert.match(
    await exchangeRaw(running.gateway.port, stranger),
    new RegExp(`^HTTP/1.1 200 .*stranger-${turn}\r\n`, "s"),
  );
  await until(
    async () => {
      const text = await running.metrics();
      return /gateway_http2_connections 0\n/.test(text) && /gateway_requests_in_flight 0\n/.test(text);
    },
    { what: "no connection of HTTP/2 and no request to be left" },
  );
  await until(() => tap.unfinished.length === 0, { what: "a broken request to be left" });
  const sent = tap.take();
  const others = sent.filter(({ method, target }) => !own.includes(`${method} ${target}`));
  const names = others.map(({ method, target }) => `${method} ${target}`);
  assert.deepEqual(names.slice(0, reaches.length), reaches, "what was sent to the origin");
  const more = names.slice(reaches.length);
  assert.ok(
    more.length <= (answer === "200" ? Math.max(mayReach, 1) : mayReach),
    `sent to the origin as well: ${more.join(", ")}`,
  );
  for (const name of more) assert.doesNotMatch(name, /smuggled|admin/);
  for (const { fields } of sent) {
    const odd = fields.filter(([name]) => !forwarded.has(name) && !Object.hasOwn(row.fields ?? {}, name));
    assert.deepEqual(odd, [], "headers that nobody has sent");
  }
  if (others.length > 0) judgeRequest(row, others[0]);
  assert.deepEqual(running.reports, [], "what clients do wrong is no fault of the gateway");
  const known = new Set([...own, ...names]);
  await until(() => own.every((one) => origin.seen().slice(before).includes(one)), { what: "the origin to say so" });
  assert.deepEqual(
    origin
      .seen()
      .slice(before)
      .filter((one) => !known.has(one)),
    [],
    "what the origin says that it has got",
  );
}

/** With the reason of a reply that the gateway made itself. */
async function answerOf(caller: RawHttp2, stream: number): Promise<string> {
  const answer = await caller.answer(stream);
  if (!/^[45]/.test(answer)) return answer;
  const body = await caller.until((frame) => frame.type === 0 && frame.stream === stream && frame.payload.length > 0);
  const reason = /"reason":"(\w+)"/.exec(String(body?.payload))?.[1] ?? "";
  assert.ok(Object.hasOwn(reasons, reason), `${reason} is a reason`);
  return `${answer} ${reason}`;
}
