// Requests as a scanner sends them: any method, path, host and user agent, none of which a server has heard of.
import { once } from "node:events";
import { Agent, type ClientRequest, METHODS, request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

/** Stands in everything that is made up, so that a test can look for it where it must not be. */
export const marker = "zz9";

/** What the client of Node can send by itself; CONNECT is answered by a tunnel or not at all. */
const methods: readonly string[] = METHODS.filter((method) => method !== "CONNECT");

export interface HttpScan {
  readonly url: string;
  readonly count: number;
  readonly next: () => { readonly method: string; readonly path: string };
  readonly random: () => number;
}

const connections = 16;

/** Sends so many requests over kept connections. @returns How many got a reply. */
export async function scanHttp({ url, count, next, random }: HttpScan): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const { hostname, port } = new URL(url);
  let left = count;
  let replies = 0;
  const loop = async (): Promise<void> => {
    while (left-- > 0) {
      const headers = {
        host: `${word(random)}.${word(random)}:${Math.floor(random() * 65_536)}`,
        "user-agent": `${word(random)}/${random()}`,
        traceparent: `00-${hex(32, random)}-${hex(16, random)}-01`,
        "content-length": 0,
      };
      if (await hasReply(request({ agent, hostname, port, headers, ...next() }))) replies += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, loop));
  agent.destroy();
  return replies;
}

/** False when the server closed the connection meanwhile, after the answer before. */
function hasReply(sent: ClientRequest): Promise<boolean> {
  return new Promise((resolve) => {
    sent.on("response", (response) => response.resume().once("close", () => resolve(true)));
    sent.on("error", () => resolve(false)).end();
  });
}

/** A method and a path, sometimes one of `known`, with `*` for what is made up in it: a word or a number from 200 to 999. */
export function randomRequest(known: readonly string[], random: () => number): ReturnType<HttpScan["next"]> {
  return { method: pick(methods, random), path: randomPath(known, random) };
}

/** Sends bytes that only look like requests, each over a connection of its own. */
export async function scanRaw(url: string, count: number, random: () => number): Promise<void> {
  const { hostname, port } = new URL(url);
  for (let sent = 0; sent < count; sent += 1) {
    const socket = connect(Number(port), hostname).on("error", () => {});
    const target = pick([`/${word(random)}`, `http://${word(random)}/${word(random)}`, word(random), "*"], random);
    socket.end(
      `${word(random).toUpperCase()} ${target} HTTP/${pick(["1.1", "1.0", "9.9"], random)}\r\nHost: ${word(random)}\r\n\r\n`,
    );
    await once(socket.resume(), "close");
  }
}

export interface GrpcScan {
  /** `host:port`. */
  readonly address: string;
  readonly count: number;
  /** Methods that the server has. */
  readonly known: readonly string[];
  readonly random: () => number;
}

/** Calls so many gRPC methods that nobody has, and `known` among them, on one connection. @returns How many were answered. */
export async function scanGrpc({ address, count, known, random }: GrpcScan): Promise<number> {
  const session = connectHttp2(`http://${address}`);
  await once(session, "connect");
  let left = count;
  let replies = 0;
  const loop = async (): Promise<void> => {
    while (left-- > 0) {
      const path = random() < 0.2 ? pick(known, random) : `/${word(random)}.${word(random)}/${word(random)}`;
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
        "user-agent": word(random),
        [`x-${word(random)}`]: word(random),
      });
      stream.end(Buffer.from([0, 0, 0, 0, 0])); // an empty message
      await once(stream.resume(), "close");
      replies += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, loop));
  session.close();
  return replies;
}

/** The same numbers each time, from 0 to, not including, 1. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function randomPath(known: readonly string[], random: () => number): string {
  const own = pick(known, random).replaceAll("*", () =>
    random() < 0.5 ? word(random) : String(200 + Math.floor(random() * 800)),
  );
  return pick(
    [
      own,
      `${own}?${word(random)}=${word(random)}`,
      `${own}/${word(random)}`,
      `/${word(random)}`,
      `/${word(random)}/${word(random)}/${hex(40, random)}`,
      `/${marker}/../${word(random)}`,
      `//${word(random)}`,
      `/${marker}%2e%2e%2f${word(random)}`,
      `/${marker}%00${word(random)}`,
      `/${marker}%zz`,
      `/${marker.repeat(200)}`,
      `/${word(random)}?${"q=1&".repeat(50)}`,
    ],
    random,
  );
}

function word(random: () => number): string {
  return `${marker}${Math.floor(random() * 2 ** 32).toString(36)}`;
}

function hex(digits: number, random: () => number): string {
  return Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join("");
}

function pick<T>(from: readonly T[], random: () => number): T {
  const picked = from[Math.floor(random() * from.length)];
  if (picked === undefined) throw new RangeError("nothing to pick from");
  return picked;
}
