import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { replyHeader, type ReplyHeaders, toClientHeaders } from "../headers/reply.ts";
import { edit } from "../headers/rules.ts";
import type { DeadlineList, Expiring } from "../server/deadlines.ts";
import type { Exchange } from "../server/exchange.ts";
import type { GatewayResponse } from "../server/http1-response.ts";
import { Tunnel } from "./tunnel.ts";
import type { WebSockets } from "./websockets.ts";

/** So much of what a client sends before it may is kept; the rest stays in its connection. */
const maxHeldBytes = 65_536;
const proof = "sec-websocket-accept";
/** How long what a client still sends after a refusal is dropped, so that a reset does not overtake the reply. */
const lingerMs = 2_000;

/**
 * A client's connection whose request asks for a WebSocket. What it sends before the instance has answered 101 is held back; after any other
 * answer it is dropped, and the connection ends: it might be anything.
 * @see https://www.rfc-editor.org/rfc/rfc9931
 */
export class ClientUpgrade implements Expiring {
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  /** From the request until the instance agreed, in milliseconds; undefined before that. */
  tookMs: number | undefined;
  /** Given to the instance. */
  bytesFromClient = 0;
  readonly #exchange: Exchange;
  readonly #response: GatewayResponse;
  readonly #socket: Socket;
  readonly #held: Buffer[] = [];
  /** The route that it is counted for. */
  #counted: string | undefined;
  #heldBytes = 0;
  #tunnel: Tunnel | undefined;

  /** @param client.head - What came with the request. */
  constructor(
    exchange: Exchange,
    client: { readonly response: GatewayResponse; readonly socket: Socket; readonly head: Buffer },
  ) {
    const { response, socket, head } = client;
    this.#exchange = exchange;
    this.#response = response;
    this.#socket = socket;
    if (head.length > 0) this.#onData(head);
    socket.on("data", this.#onData).on("end", this.#onEnd).on("drain", this.#onDrain);
    response.once("finish", () => this.#refused());
  }

  /** @returns False when the route has as many as it may. */
  take(webSockets: WebSockets, route: string, max: number): boolean {
    if (!webSockets.take(route, max)) return false;
    this.#counted = route;
    return true;
  }

  /** It is over, or was refused. */
  release(): void {
    if (this.#counted !== undefined) this.#exchange.core.webSockets.release(this.#counted);
    this.#counted = undefined;
  }

  /**
   * The instance has agreed.
   * @returns False when what it said is no agreement to a WebSocket; nothing was done then.
   */
  open(headers: ReplyHeaders, instance: Duplex, lines: readonly string[]): boolean {
    const { core, taken } = this.#exchange;
    const limits = taken?.webSocket;
    if (limits === undefined || replyHeader(headers, "upgrade")?.toLowerCase() !== "websocket") return false;
    const socket = this.#socket;
    socket.off("data", this.#onData).off("end", this.#onEnd).off("drain", this.#onDrain);
    socket.pause();
    socket.setTimeout(0);
    this.#response.detachSocket(socket);
    this.tookMs = core.clock.monotonicMs() - this.#exchange.startedAtMs;
    const { webSockets, deadlines } = core;
    const exchange = this.#exchange;
    const tunnel = new Tunnel({
      client: socket,
      instance,
      deadlines,
      idleTimeoutMs: limits.idleTimeoutMs,
      onReason: (reason) => (exchange.reason ??= core.isStopping ? "gateway_stopped" : reason),
      onBytes: (from, bytes) => {
        webSockets.passed(taken?.name ?? "", from, bytes);
        if (from === "client") this.bytesFromClient += bytes;
        else exchange.bytes += bytes;
      },
      onClosed: () => {
        webSockets.closed(tunnel);
        exchange.finish();
      },
    });
    this.#tunnel = tunnel;
    socket.write(headOf(lines), "latin1");
    tunnel.begin(this.#held.splice(0));
    webSockets.opened(tunnel);
    return true;
  }

  /** Breaks off what is open. */
  destroy(): void {
    if (this.#tunnel) this.#tunnel.destroy();
    else this.#socket.destroy();
  }

  /** A reply was given instead, and the client has not ended its side in time. */
  expire(): void {
    this.#socket.destroy();
  }

  /** The reply that was given instead has gone out. */
  #refused(): void {
    const exchange = this.#exchange;
    const socket = this.#socket;
    this.#response.detachSocket(socket);
    this.#held.length = 0;
    if (socket.readableEnded) socket.destroySoon();
    else {
      socket.end();
      const { core } = exchange;
      core.deadlines.list(lingerMs).add(this, core.clock.monotonicMs());
      socket.once("close", () => this.list?.remove(this)).resume();
    }
    exchange.finish();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#exchange.isFinished) return;
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes >= maxHeldBytes) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    const { isFinished, response } = this.#exchange;
    if (isFinished || !response.headersSent) this.#socket.destroy();
  };

  readonly #onDrain = (): void => void this.#response.emit("drain");
}

/** Whether a request that asks for an upgrade asks for this one, and has no body that would come before it. */
export function asksForWebSocket({ method, headers, httpVersionMinor }: IncomingMessage): boolean {
  if (method !== "GET" || httpVersionMinor === 0 || headers["transfer-encoding"] !== undefined) return false;
  const { upgrade, "content-length": length = "0" } = headers;
  return length === "0" && upgrade?.toLowerCase() === "websocket";
}

/**
 * The instance has answered 101. The rules of the route change its head as any other, but for the proof that it has agreed.
 * @param keep - Has the head say who has answered, where callers are to be kept.
 */
export function takeUpgrade(
  exchange: Exchange,
  headers: ReplyHeaders,
  socket: Duplex,
  keep: (lines: string[]) => void,
): void {
  const lines = toClientHeaders(101, headers);
  const { replyEdits } = exchange;
  if (replyEdits) {
    const agreed = replyHeader(headers, proof);
    edit(lines, { drop: new Set([...replyEdits.drop, proof]), lines: [] });
    for (let at = 0; at < replyEdits.lines.length; at += 2) {
      const [name = "", value = ""] = replyEdits.lines.slice(at, at + 2);
      if (name.toLowerCase() !== proof) lines.push(name, value);
    }
    if (agreed !== undefined) lines.push(proof, agreed);
  }
  keep(lines);
  lines.push("x-request-id", exchange.requestId, ...(exchange.limitHeaders ?? []));
  if (exchange.upgrade?.open(headers, socket, lines) === true) exchange.upgraded();
  else {
    socket.destroy();
    exchange.refuse("upstream_invalid");
  }
}

function headOf(headers: readonly string[]): string {
  let text = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
  for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return `${text}\r\n`;
}
