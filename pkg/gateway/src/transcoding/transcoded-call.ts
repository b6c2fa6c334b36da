import type { Duplex } from "node:stream";
import { replyHeader, type ReplyHeaders } from "../headers/reply.ts";
import { isMisdirected } from "../protocols/grpc.ts";
import type { Exchange } from "../server/exchange.ts";
import type {
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandlers,
  UpstreamRequest,
} from "../upstream/upstream.ts";
import type { Binding } from "./binding.ts";
import { FrameReader } from "./frames.ts";
import { type GrpcProblem, toGrpcProblem } from "./grpc-problem.ts";
import { type HttpBody, readHttpBody } from "./http-body.ts";
import { toReplyJson } from "./reply-json.ts";

const misdirectedStatus = 421;
/** Of servers in between that answer for one that is not there. */
const unavailableStatuses: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const unavailable: ReplyHeaders = ["grpc-status", "14"];

/**
 * One try of a translated request: to whoever has sent it, it looks like one of HTTP. Nothing is told of the reply before it is known
 * what that is: one message, the first of a stream, or an error.
 */
export class TranscodedCall implements UpstreamHandlers, UpstreamCall {
  readonly #exchange: Exchange;
  readonly #binding: Binding;
  readonly #handlers: UpstreamHandlers;
  readonly #frames: FrameReader;
  readonly #isStream: boolean;
  #call: UpstreamCall | undefined;
  #head: ReplyHeaders = [];
  /** The one message of a reply that is no stream. */
  #message: Buffer | undefined;
  #hasTold = false;
  /** Nobody is told anything any more. */
  #isOver = false;

  constructor(exchange: Exchange, binding: Binding, handlers: UpstreamHandlers) {
    this.#exchange = exchange;
    this.#binding = binding;
    this.#handlers = handlers;
    this.#frames = new FrameReader(binding.limits.maxReplyBytes);
    this.#isStream = binding.method.methodKind === "server_streaming";
  }

  sendTo(upstream: Upstream, request: UpstreamRequest): UpstreamCall {
    this.#call = upstream.send(request, this);
    return this;
  }

  abort(): void {
    this.#isOver = true;
    this.#call?.abort();
  }

  resume(): void {
    this.#call?.resume();
  }

  onHead(status: number, headers: ReplyHeaders): void {
    this.#head = headers;
    if (isMisdirected(headers) || status === misdirectedStatus) this.#unserved(misdirectedStatus);
    else if (unavailableStatuses.has(status)) this.#unserved(undefined);
    else if (status !== 200) this.#invalid(new Error(`the service answers a call of gRPC with HTTP status ${status}`));
    else if (replyHeader(headers, "content-type")?.startsWith("application/grpc") !== true)
      this.#invalid(new Error("the service answers a call of gRPC with something else"));
  }

  onUpgrade(_headers: ReplyHeaders, socket: Duplex): void {
    socket.destroy(); // it was not asked for
  }

  onData(chunk: Buffer): boolean {
    if (this.#isOver) return true;
    try {
      const messages = this.#frames.take(chunk);
      if (messages.length === 0) return true;
      if (this.#isStream) return this.#tell(messages);
      if (messages.length > 1 || this.#message) throw new Error("the reply has more than one message");
      [this.#message] = messages;
    } catch (error) {
      this.#invalid(error);
    }
    return true;
  }

  onEnd(trailers: ReplyHeaders): void {
    if (this.#isOver) return;
    const fields = replyHeader(trailers, "grpc-status") === undefined ? this.#head : trailers;
    const status = replyHeader(fields, "grpc-status");
    try {
      if (status === undefined) throw new Error("the reply has no grpc-status");
      if (status !== "0") this.#fail(fields);
      else if (!this.#frames.isBetween) throw new Error("the reply ends in the middle of a message");
      else if (this.#isStream) this.#endStream();
      else if (this.#message === undefined) throw new Error("the reply has no message");
      else this.#reply(this.#message);
    } catch (error) {
      this.#invalid(error);
    }
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handlers.onFailure(failure);
  }

  #reply(message: Buffer): void {
    if (!this.#binding.givesBytes) {
      this.#whole(200, ["content-type", "application/json"], Buffer.from(toReplyJson(this.#binding, message)));
      return;
    }
    const body = readHttpBody(message, this.#binding.responseBody);
    this.#whole(
      200,
      ["content-type", typeOf(body)],
      Buffer.from(body.data.buffer, body.data.byteOffset, body.data.length),
    );
  }

  /** One line for each message of a stream, or the bytes in it. */
  #tell(messages: readonly Buffer[]): boolean {
    if (this.#binding.givesBytes) {
      const bodies = messages.map((message) => readHttpBody(message, this.#binding.responseBody));
      this.#beginStream(bodies[0]);
      const bytes = Buffer.concat(bodies.map(({ data }) => data));
      return this.#isOver || bytes.length === 0 || this.#handlers.onData(bytes);
    }
    let lines = "";
    for (const message of messages) lines += `${toReplyJson(this.#binding, message)}\n`;
    this.#beginStream();
    return this.#isOver || this.#handlers.onData(Buffer.from(lines));
  }

  /** @param body - The first of those that are no JSON: the others are of its type. */
  #beginStream(body?: HttpBody): void {
    if (this.#hasTold) return;
    const type = this.#binding.givesBytes ? typeOf(body) : "application/x-ndjson";
    this.#hasTold = true;
    this.#handlers.onHead(200, [...this.#metadata(), "content-type", type]);
  }

  #endStream(): void {
    this.#beginStream();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handlers.onEnd([]);
  }

  /** Behind the first message of a stream nothing but its end can say that it has failed. */
  #fail(fields: ReplyHeaders): void {
    if (!this.#hasTold) {
      this.#answer(undefined, fields);
      return;
    }
    this.#isOver = true;
    this.#exchange.cutOff("reply_cut_off");
  }

  /** Whatever comes behind such a head is of no use to anybody. */
  #unserved(status: number | undefined): void {
    this.#answer(status, unavailable);
    this.#call?.abort();
  }

  #answer(status: number | undefined, fields: ReplyHeaders): void {
    const problem: GrpcProblem = toGrpcProblem(fields, this.#exchange.span.traceId);
    this.#whole(status ?? problem.status, problem.headers, Buffer.from(problem.body));
  }

  #whole(status: number, headers: readonly string[], body: Buffer): void {
    this.#hasTold = true;
    this.#handlers.onHead(status, [...this.#metadata(), ...headers, "content-length", `${body.length}`]);
    if (!this.#isOver && this.#exchange.method !== "HEAD") this.#handlers.onData(body);
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handlers.onEnd([]);
  }

  /** What the service says in its head beside what is of gRPC. */
  #metadata(): string[] {
    const kept: string[] = [];
    for (let at = 0; at < this.#head.length; at += 2) {
      const name = this.#head[at] ?? "";
      if (!name.startsWith("grpc-") && !ownNames.has(name)) kept.push(name, this.#head[at + 1] ?? "");
    }
    return kept;
  }

  #invalid(cause: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#call?.abort();
    this.#handlers.onFailure({ kind: "invalid", sent: true, reused: false, cause });
  }
}

/** What a service says that its bytes are. Throws for what no header may hold. */
function typeOf(body: HttpBody | undefined): string {
  const type = body?.contentType ?? "";
  if (!/^[\t -~]*$/.test(type)) throw new Error("the content_type of the reply holds what no header may");
  return type.trim() === "" ? "application/octet-stream" : type.trim();
}

/** Of the body, which is another one now. */
const ownNames: ReadonlySet<string> = new Set([
  "content-type",
  "content-length",
  "content-encoding",
  "accept-encoding",
  "trailer",
]);
