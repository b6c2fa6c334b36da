import type { IncomingMessage, Server } from "node:http";
import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import { type Clock, requireNumber, requireWhole, systemClock, withDefaults } from "@plinth/kernel";
import type { FastifyReply, FastifyRequest, RouteShorthandOptions } from "fastify";
import { TransportError } from "../errors.ts";
import { validateHeaderName, validateHeaderValue } from "../node-http.ts";
import { exchangeOf, ServedRequest, ServedResponse } from "./exchange.ts";
import { HttpRefusal } from "./refusal.ts";
import type { HttpApp } from "./server.ts";
import { type Peer, Session, type WebSocketSession } from "./web-socket-session.ts";

/** A route that is a WebSocket. */
export interface WebSocketOptions {
  /**
   * Origins of pages that may connect, besides those of the host that the request names: `https://app.example`; `*` for all.
   * A caller that names none is no browser, and may. Default none.
   */
  readonly origins?: readonly string[];
  /** Largest message, in bytes, 1 or more. A larger one closes the socket with 1009. Default 1_048_576. */
  readonly maxPayloadBytes?: number;
  /** Open sockets of this route at a time, 1 or more. One more is refused with 429. Default 1_000. */
  readonly maxConnections?: number;
  /** How long a socket may be silent before it is asked whether it lives, and again before it is taken for dead, in milliseconds from 1. Default 30_000. */
  readonly pingIntervalMs?: number;
  /** Bytes, 1 or more, that may wait for a reader that does not take them before its socket is broken off. Default 1_048_576. */
  readonly maxBufferedBytes?: number;
  /** Schema, hooks and config of the route, as of any other: they run before the handshake. */
  readonly route?: RouteShorthandOptions;
  /** Default the system's. */
  readonly clock?: Clock;
}

export const webSocketDefaults: Readonly<Required<Omit<WebSocketOptions, "route">>> = Object.freeze({
  origins: [],
  maxPayloadBytes: 1_048_576,
  maxConnections: 1_000,
  pingIntervalMs: 30_000,
  maxBufferedBytes: 1_048_576,
  clock: systemClock,
});

/**
 * Adds a route that is a WebSocket (RFC 6455). Its handshake is a request like any other, and goes through the same layers;
 * the socket stays part of it until it closes.
 *
 * @param handle - The socket is closed with 1000 when it returns, with 1008 and the code when it throws what is meant for the
 * caller, and else with 1011, which the error bus hears of.
 * @throws OptionError `ERR_OPTION_RANGE` for an option out of its range.
 * @throws What loading the library throws; nothing of it is loaded where no route is a WebSocket.
 * @example
 * (app) => webSocket(app, "/echo", async (socket) => {
 *   for await (const message of socket) await socket.send(message);
 * })
 */
export async function webSocket(
  app: HttpApp,
  path: string,
  handle: (socket: WebSocketSession) => Promise<void> | void,
  options: WebSocketOptions = {},
): Promise<void> {
  const { route = {}, ...given } = options;
  const limits = withDefaults(webSocketDefaults, given);
  for (const name of ["maxPayloadBytes", "maxConnections", "maxBufferedBytes"] as const)
    requireWhole(name, limits[name], { min: 1 });
  requireNumber("pingIntervalMs", limits.pingIntervalMs, { min: 1 });
  const upgrader = await openUpgrader(app, limits.maxPayloadBytes);
  takeUpgrades(app.server);
  let open = 0;
  app.get(path, { ...route, exposeHeadRoute: false }, (request, reply) => {
    const exchange = exchangeOf(request.raw);
    if (!(request.raw instanceof ServedRequest) || exchange === undefined || request.raw.upgradeHead === undefined)
      throw refused(reply, notUpgraded);
    checkHandshake(request, reply, limits.origins);
    if (open >= limits.maxConnections) throw refused(reply, full);
    headerLines.set(request.raw, linesOf(reply));
    reply.hijack();
    const { socket, upgradeHead } = request.raw;
    exchange.response.detachSocket(socket);
    upgrader.handleUpgrade(request.raw, socket, upgradeHead, (peer) => {
      exchange.closeCode = 1006; // until it is closed in order
      open++;
      peer.once("close", () => open--);
      void new Session(peer, request, exchange, limits).run(handle);
    });
  });
}

/** What we use of a server of the library. */
interface Upgrader {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (peer: Peer) => void): void;
}

/**
 * The library as fastify's plugin has it, in a scope that has no routes: the plugin itself would take upgrades past the
 * layers around requests.
 */
async function openUpgrader(app: HttpApp, maxPayload: number): Promise<Upgrader> {
  const { default: plugin } = await import("@fastify/websocket");
  let upgrader: unknown;
  await app.register(async (scope) => {
    const options = { server: new EventEmitter(), maxPayload, perMessageDeflate: false, clientTracking: false };
    await scope.register(plugin, { options, preClose: (done: () => void) => done() });
    upgrader = Reflect.get(scope, "websocketServer");
  });
  if (!isUpgrader(upgrader)) throw new TypeError("@fastify/websocket has no websocketServer");
  if (upgrader instanceof EventEmitter)
    upgrader.on("headers", (headers: string[], request: IncomingMessage) => {
      headers.push(...(headerLines.get(request) ?? []));
    });
  return upgrader;
}

function isUpgrader(value: unknown): value is Upgrader {
  return (
    typeof value === "object" && value !== null && "handleUpgrade" in value && typeof value.handleUpgrade === "function"
  );
}

/** What the handshake's reply to a request has besides what the library writes. */
const headerLines = new WeakMap<IncomingMessage, readonly string[]>();

/**
 * Headers of the layers and hooks that say something to who opens a socket: the request id, `strict-transport-security`, cookies (RFC
 * 6455, 1.3). Left out are those of the handshake itself, those of a content, which a 101 has not, and what tells a page what
 * to do with a content or whether to read it: browsers ask nothing of that for a socket.
 * @throws TypeError for one that cannot be sent: the library would write it as it is.
 */
function linesOf(reply: FastifyReply): readonly string[] {
  return Object.entries(reply.getHeaders()).flatMap(([name, value]) => {
    if (value === undefined || ofOtherReplies.test(name)) return [];
    return [value].flat().map((each) => {
      validateHeaderName(name);
      validateHeaderValue(name, String(each));
      return `${name}: ${each}`;
    });
  });
}

const ofOtherReplies =
  /^(?:access-control-.*|cache-control|connection|content-.*|cross-origin-.*|etag|expires|keep-alive|last-modified|permissions-policy|referrer-policy|sec-websocket-.*|trailer|transfer-encoding|upgrade|vary|x-content-type-options|x-frame-options)$/;

/** Serves requests to upgrade as all others are, once for each server; whatever else is to be upgraded to is none of ours. */
function takeUpgrades(server: Server): void {
  if (server.listeners("upgrade").includes(onUpgrade)) return;
  server.on("upgrade", onUpgrade);
  Reflect.set(server, "shouldUpgradeCallback", isUpgrade);
}

/** Any other is answered as if it did not ask. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.8 */
function isUpgrade({ method, headers, httpVersion }: IncomingMessage): boolean {
  const { upgrade, "content-length": length, "transfer-encoding": coding } = headers;
  return (
    method === "GET" &&
    httpVersion === "1.1" &&
    upgrade?.toLowerCase() === "websocket" &&
    length === undefined &&
    coding === undefined
  );
}

function onUpgrade(this: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  if (!(request instanceof ServedRequest)) return;
  const response = new ServedResponse(request);
  try {
    response.assignSocket(request.socket);
  } catch {
    socket.destroy(); // a request ahead of it is being answered, on a connection that has no way back to HTTP
    return;
  }
  request.upgradeHead = head;
  response.shouldKeepAlive = false;
  response.once("finish", () => request.socket.destroySoon());
  this.emit("request", request, response);
}

function checkHandshake({ headers }: FastifyRequest, reply: FastifyReply, origins: readonly string[]): void {
  if (headers["sec-websocket-version"] !== "13") throw refused(reply, otherVersion);
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "")) throw refused(reply, badKey);
  const { origin, host = "" } = headers;
  if (origin === undefined || origins.includes("*") || origins.includes(origin)) return;
  if (URL.canParse(origin) && new URL(origin).host === host.toLowerCase()) return;
  throw new TransportError(
    "ERR_ORIGIN_REFUSED",
    "permission_denied",
    "pages of this origin may open no WebSocket here",
  );
}

const upgradeHeaders = { upgrade: "websocket", connection: "Upgrade, close" };

const notUpgraded = {
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 426,
  message: "this route is a WebSocket; upgrade the connection to it",
  headers: upgradeHeaders,
} as const;
const otherVersion = {
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 426,
  message: "the only version of WebSocket served is 13",
  headers: { ...upgradeHeaders, "sec-websocket-version": "13" },
} as const;
const badKey = {
  code: "ERR_REQUEST_MALFORMED",
  httpStatus: 400,
  message: "sec-websocket-key is not sixteen bytes in base64",
  headers: { connection: "close" },
} as const;
const full = {
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 429,
  message: "too many WebSockets are open; try again later",
  headers: { "retry-after": "1", connection: "close" },
} as const;

type Refusal = typeof notUpgraded | typeof otherVersion | typeof badKey | typeof full;

function refused(reply: FastifyReply, refusal: Refusal): HttpRefusal {
  reply.headers(refusal.headers);
  return new HttpRefusal(refusal);
}
