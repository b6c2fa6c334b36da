import { generateKeyPairSync, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { GatewayDocument } from "@plinth/gateway";
import { BenchError } from "../../harness/errors.ts";
import type { Lab, Running } from "../../harness/lab.ts";
import { nodeProgram } from "../programs.ts";
import { startPlinth } from "./start-plinth.ts";

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");

/** The issuer of the tokens of {@link tokenLines}. */
export const issuer = {
  issuer: "https://issuer.example",
  audiences: ["bench"],
  algorithms: ["ES256"],
  jwks: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "bench", alg: "ES256", use: "sig" }] },
} satisfies NonNullable<GatewayDocument["jwt"]>[string];

/** Of the head of requests that bring a token, ES256, valid for an hour: so many different ones. */
export function tokenLines(count: number): string[] {
  const now = Math.floor(Date.now() / 1_000);
  return Array.from({ length: count }, (_, index) => {
    const claims = {
      iss: issuer.issuer,
      aud: "bench",
      sub: `user-${index}`,
      scope: "items:read",
      iat: now,
      exp: now + 3_600,
    };
    const input = `${encode({ alg: "ES256", typ: "at+jwt", kid: "bench" })}.${encode(claims)}`;
    const signature = sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" });
    return `Authorization: Bearer ${input}.${signature.toString("base64url")}`;
  });
}

export const generousLimit = { limit: 1_000_000, windowMs: 1_000, by: "subject" } as const;

/** A route that asks for a token and a scope, counts each caller's requests, and tells services who it is. */
export const everythingDocument: GatewayDocument = {
  jwt: { bench: issuer },
  rateLimits: { generous: generousLimit },
  routes: [
    {
      name: "item",
      match: { path: "/item" },
      service: "origin",
      auth: { scopes: ["items:read"] },
      rateLimit: "generous",
    },
  ],
};

/**
 * Starts the gateway with tokens, a limit, metrics, spans of 1 % of the requests exported, and an access log, and at its stop makes sure
 * that it had all of that: each request was logged and one in a hundred traced.
 */
export async function startEverything(lab: Lab, originPort: number): Promise<Running> {
  const collector = await lab.companion(nodeProgram("collector-stub.ts"));
  const gateway = await startPlinth(lab, {
    originPort,
    document: everythingDocument,
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.port}`,
      PLINTH_TELEMETRY_SAMPLE_RATIO: "0.01",
    },
  });
  const stop = async (): Promise<void> => {
    await gateway.stop();
    const count = await fetch(`http://127.0.0.1:${collector.port}/count`);
    const spans = Number(await count.text());
    const lines = (await readFile(gateway.log, "utf8")).split("\n").filter((line) => line.includes('"path":"/item"'));
    const well = lines.filter((line) => line.includes('"status":200')).length;
    await collector.stop();
    const sampled = spans / 2 / lines.length; // that of the server and that of the client
    // The load generator leaves in the middle of its last requests.
    if (well > 0 && lines.length - well <= 64 && sampled > 0.005 && sampled < 0.02) return;
    const message = `the gateway ran without everything on: ${lines.length} requests in its log, ${well} well, ${spans} spans`;
    throw new BenchError("ERR_BENCH_DEFINITION", message);
  };
  return { pid: gateway.pid, port: gateway.port, stop };
}
