import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { until } from "@plinth/kernel/testing";
import { type RawClient, rawClient, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { readReply } from "../../pkg/gateway/src/testing/read-reply.ts";
import { reasons } from "../../pkg/gateway/src/reasons.ts";
import type { Origin } from "./origins/origin.ts";
import type { Row } from "./row.ts";
import type { SentRequest, Tap } from "./wire.ts";

/** A gateway with one origin behind it, and what was sent there between the two. */
export interface Stand {
  readonly running: TestGateway;
  readonly origin: Origin;
  readonly tap: Tap;
}

interface Reply {
  /** `200`, or `400 malformed_request` where the gateway itself answers. */
  readonly told: string;
  /** What the origin has understood. */
  readonly got: string | undefined;
}

let turns = 0;

/**
 * Sends a row, and holds what comes of it to the row and to what holds for all: whoever comes after on the same connection gets the reply
 * to what it asked, and so does a stranger; the origin has got the requests that the row says, whole, and not a byte beside them.
 */
export async function judge({ running, origin, tap }: Stand, row: Row): Promise<void> {
  const turn = ++turns;
  const { told, reaches = [] } = row;
  const expected = typeof told === "string" ? [told] : told;
  const before = origin.seen().length;
  const got = [...reaches];
  const client = await rawClient(running.gateway.port);
  const steps = typeof row.send === "string" ? [row.send] : row.send;
  for (const step of steps) {
    if (typeof step === "string") client.send(step);
    else await client.matching(step);
  }
  const sent = steps.filter((step) => typeof step === "string").join("");
  const replies = repliesTo(client, sent);
  if (mustEnd(row, expected, sent)) await client.toEnd();
  else {
    await until(() => replies().length >= expected.length || client.ended, {
      what: `${expected.length} replies in ${JSON.stringify(client.text.slice(0, 500))}`,
    });
    assert.ok(!client.ended, `the connection has ended after ${JSON.stringify(client.text.slice(0, 500))}`);
    client.send(`GET /after-${turn} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    got.push(`GET /after-${turn}`);
    await client.toEnd();
  }
  const followers = got.slice(reaches.length).map(() => "200");
  const found = replies();
  assert.deepEqual(
    found.map((reply) => reply.told),
    [...expected, ...followers],
    client.text.slice(0, 1_000),
  );
  assert.deepEqual(
    found.flatMap((reply) => (reply.told === "200" ? [reply.got] : [])),
    got.filter((one) => !one.startsWith("HEAD") || expected.length === reaches.length),
    "each reply belongs to its request",
  );
  await judgeOrigin({ running, origin, tap }, { row, got, before, turn });
}

async function judgeOrigin(
  { running, origin, tap }: Stand,
  {
    row,
    got,
    before,
    turn,
  }: { readonly row: Row; readonly got: readonly string[]; readonly before: number; readonly turn: number },
): Promise<void> {
  const stranger = await rawClient(running.gateway.port);
  stranger.send(`GET /stranger-${turn} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  const [reply] = readAll(await stranger.toEnd(), ["GET"]);
  assert.deepEqual(reply, { told: "200", got: `GET /stranger-${turn}` }, "a stranger gets its own reply");
  const expected = [...got, `GET /stranger-${turn}`].toSorted();
  if (row.mayReach !== undefined)
    await until(() => tap.unfinished.length === 0, { what: "a broken request to be left" });
  const sent = tap.take();
  assert.deepEqual(
    without(
      sent.map(({ method, target }) => `${method} ${target}`),
      row.mayReach,
    ).toSorted(),
    expected,
    "what was sent to the origin",
  );
  assert.deepEqual(tap.unfinished, [], "nothing stands behind the last request to the origin");
  const last = sent.find(({ method, target }) => `${method} ${target}` === (row.reaches ?? []).at(-1));
  judgeRequest(row, last);
  const seen = await until(
    () => {
      const lines = origin.seen().slice(before);
      return lines.length >= expected.length ? lines : undefined;
    },
    { what: `${expected.join(", ")} at the origin, which has ${origin.seen().slice(before).join(", ")}` },
  );
  assert.deepEqual(without(seen, row.mayReach).toSorted(), expected, "what the origin says that it has got");
}

/** Holds what was sent to an origin to what a row says of it. */
export function judgeRequest({ fields = {}, body }: Pick<Row, "fields" | "body">, sent: SentRequest | undefined): void {
  if (body !== undefined) assert.equal(sent?.body, body);
  for (const [name, wanted] of Object.entries(fields)) {
    const values = sent?.fields.flatMap(([given, value]) => (given === name ? [value] : [])) ?? [];
    assert.equal(values.length, wanted.length, `${name}: ${JSON.stringify(values)}`);
    for (const [at, value] of values.entries()) {
      const pattern = wanted[at] ?? "";
      if (typeof pattern === "string") assert.equal(value, pattern, name);
      else assert.match(value, pattern, name);
    }
  }
}

function without(lines: readonly string[], one: string | undefined): readonly string[] {
  const at = one === undefined ? -1 : lines.indexOf(one);
  return at < 0 ? lines : lines.toSpliced(at, 1);
}

function mustEnd({ ends = false }: Row, told: readonly string[], sent: string): boolean {
  const reason = told.at(-1)?.split(" ")[1] ?? "";
  const closes = Object.entries(reasons).some(([word, entry]) => word === reason && "closes" in entry);
  return ends || closes || /^connection:[^\r]*\bclose\b/im.test(sent);
}

/** What has come so far, read anew where more has. */
function repliesTo(client: RawClient, sent: string): () => readonly Reply[] {
  const methods = [...sent.matchAll(/(?:^|\r\n\r\n)([A-Z]+) +[/*]/g)].map(([, method = ""]) => method);
  let length = -1;
  let known: readonly Reply[] = [];
  return () => {
    if (client.text.length !== length) {
      length = client.text.length;
      known = readAll(client.text, methods, client.ended);
    }
    return known;
  };
}

function readAll(text: string, methods: readonly string[], isOver = true): readonly Reply[] {
  const replies: Reply[] = [];
  for (let rest = Buffer.from(text, "latin1"); rest.length > 0;) {
    const method = methods[replies.length] ?? "GET";
    const { outcome, status, headers, body, used } = readReply(rest, { method, body: Readable.from([]) });
    if (outcome !== "whole") {
      if (isOver)
        replies.push({ told: `${outcome}: ${JSON.stringify(rest.toString("latin1").slice(0, 300))}`, got: undefined });
      break;
    }
    const own = headers.includes("application/problem+json") ? /"reason":"(\w+)"/.exec(body)?.[1] : undefined;
    if (own !== undefined) assert.ok(Object.hasOwn(reasons, own), `${own} is a reason`);
    const at = headers.indexOf("x-got");
    replies.push({ told: `${status}${own === undefined ? "" : ` ${own}`}`, got: at < 0 ? undefined : headers[at + 1] });
    rest = rest.subarray(used);
  }
  return replies;
}
