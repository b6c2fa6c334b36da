// Two thousand ordinary requests through the gateway and through nginx: the origin gets the same, and so does the client.
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { describe } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import {
  type Case,
  makeCases,
  type Message,
  recordingOrigin,
  type RecordingOrigin,
  send,
} from "../conformance/differential.ts";
import { startNginx } from "../conformance/origins/server.ts";
import { faultTest } from "../support/fault-row.ts";

/** Header names in which the gateway and nginx differ, each with its reason. `test/conformance/README.md` has the same list. */
const documented = {
  request: {
    connection: "the gateway says keep-alive; nginx, as it is set up here, says nothing, which means the same",
    "x-forwarded-for": "the gateway says who asks; nginx only where it is told to",
    "x-forwarded-proto": "as above",
    "x-forwarded-host": "as above",
    via: "the gateway names itself, so that loops are seen",
    "x-request-id": "each request has an id",
    traceparent: "each request is part of a trace",
    "plinth-timeout-ms": "how long the caller will wait",
  },
  reply: {
    connection: "of one connection, and not of the message",
    "keep-alive": "of one connection, and not of the message",
    "x-request-id": "each request has an id, which its client is told",
  },
} as const;

/** Of a body that came in chunks: nginx gives one a length that it happens to have whole, the gateway passes it on as it comes. */
const chunkedFraming = { "transfer-encoding": true, "content-length": true };

const count = 2_000;
const seed = 20_261_123;

interface Outcome {
  readonly request: Message | undefined;
  readonly reply: Message;
}

async function sendAll(port: number, origin: RecordingOrigin, cases: readonly Case[]): Promise<Outcome[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  origin.got.clear();
  const found = await Promise.all(cases.map((one) => send(port, agent, one)));
  agent.destroy();
  return found.map((reply, at) => ({ request: origin.got.get(`${at}`), reply }));
}

function without(message: Message | undefined, names: object): Message | undefined {
  return (
    message && {
      ...message,
      fields: message.fields.filter((field) => !Object.hasOwn(names, field.slice(0, field.indexOf(":")))),
    }
  );
}

describe("the gateway beside nginx", () => {
  faultTest(
    {
      fault: "conformance: differential",
      done: `${count} ordinary requests by each way`,
      expected: "the same, but for what is documented",
    },
    async (witness) => {
      await using origin = await recordingOrigin();
      await using running = await startGateway({ settings: { accessLog: false } });
      await running.add(origin);
      const [port = 0] = await findFreePorts(1);
      await using _nginx = await startNginx(
        [
          `access_log off; upstream origin { server 127.0.0.1:${origin.port}; keepalive 16; }`,
          `server { listen 127.0.0.1:${port}; location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_request_buffering off;`,
          `proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_redirect off; proxy_pass_header Server; proxy_pass_header Date; } }`,
        ],
        port,
      );
      const cases = makeCases(count, seed);
      const byNginx = await sendAll(port, origin, cases);
      const byGateway = await sendAll(running.gateway.port, origin, cases);
      for (const [at, { request, reply }] of byGateway.entries()) {
        assert.ok(request !== undefined, `case ${at} reaches the origin: ${reply.start}, ${JSON.stringify(cases[at])}`);
      }
      const differences: string[] = [];
      for (const [at, one] of cases.entries()) {
        for (const side of ["request", "reply"] as const) {
          const left = { ...documented[side], ...(side === "request" && one.isChunked && chunkedFraming) };
          const [theirs, ours] = [byNginx[at]?.[side], byGateway[at]?.[side]].map((message) => without(message, left));
          try {
            assert.deepEqual(
              ours ?? `nothing, but ${byGateway[at]?.reply.start}`,
              theirs ?? `nothing, but ${byNginx[at]?.reply.start}`,
            );
          } catch (error) {
            differences.push(
              `${one.method} ${one.target}, case ${at}, ${side}: ${error instanceof Error ? error.message : String(error)}`,
            );
          }
        }
      }
      witness.count({ sent: 2 * count, failed: differences.length });
      witness.saw(`${differences.length} differences`);
      assert.ok(differences.length === 0, differences.slice(0, 40).join("\n\n"));
    },
  );
});
