import { randomHex, type RequestContext, runInContext, type Span } from "@plinth/kernel";
import type { ConcurrencyCap } from "@plinth/resilience";
import { strangerIn } from "../headers/trace.ts";
import type { ProxiedOrigin } from "../headers/origin.ts";
import type { HeaderEdits } from "../headers/rules.ts";
import type { Encoder } from "../compression/encoder.ts";
import type { PluginReason } from "../plugins/define.ts";
import type { PluginRun } from "../plugins/run.ts";
import type { Transcoding } from "../transcoding/transcoding.ts";
import { codeOf } from "../problem.ts";
import { type PluginReasonName, type Reason, reasonOf, statusOf } from "../reasons.ts";
import { admit } from "./admission.ts";
import type { ClientRequest, ClientResponse } from "./client-message.ts";
import type { GatewayCore } from "./core.ts";
import type { ClientUpgrade } from "../protocols/client-upgrade.ts";
import { type GrpcCall, grpcEnding, pairsOf } from "../protocols/grpc.ts";
import type { DeadlineList, Expiring } from "./deadlines.ts";
import type { EdgeReply } from "./edge.ts";
import type { Generation } from "./generation.ts";
import type { Forwarding } from "./forwarding.ts";
import { methodLabel } from "./observer.ts";
import { answer, answerEmpty, answerRejected, awaitUpload } from "./own-reply.ts";
import type { RequestBody } from "./request-body.ts";
import { plainAddress, type Route } from "./route.ts";

/** One request from its head to the end of its reply: what its stages share, and the ways that it can end. */
export class Exchange implements RequestContext, Expiring {
  readonly core: GatewayCore;
  /** The document that it was begun with, whatever comes after. */
  readonly generation: Generation;
  readonly request: ClientRequest;
  readonly response: ClientResponse;
  readonly requestId: string;
  readonly span: Span;
  readonly startedAtMs: number;
  /** What a trusted proxy says of the client; undefined where the peer is the client. */
  readonly origin: ProxiedOrigin | undefined;
  readonly clientAddress: string;
  readonly method: string;
  /** The client waits to be told to send its body. */
  readonly expectsContinue: boolean;
  /** Canonical, once it is known. */
  path = "";
  /** The route that was found for it. */
  taken: Route | undefined;
  /** The pattern that matched. */
  template: string | undefined;
  /** Why the gateway answers itself, or cut the reply off. */
  reason: Reason | PluginReasonName | undefined;
  /** Which rule the token broke. */
  authFault: string | undefined;
  /** Fields of the limit that the reply shows. */
  limitHeaders: string[] | undefined;
  /** Where it has a place, until it ends. */
  place: ConcurrencyCap | undefined;
  /** The same of its service. */
  servicePlace: ConcurrencyCap | undefined;
  /** Aborts when it ends while it waits for a place. */
  leaving: AbortController | undefined;
  /** The limit that refused it. */
  limitedBy: string | undefined;
  /** Limits that only count, and would have refused it. */
  shadowLimitedBy: string | undefined;
  /** What the reply says to browsers. */
  edge: EdgeReply | undefined;
  /** What the route changes in the reply's head. */
  replyEdits: HeaderEdits | undefined;
  /** On its way through the plugins of the latest stage. */
  pluginRun: PluginRun | undefined;
  /** What the reply's body goes through. */
  encoder: Encoder | undefined;
  body: RequestBody | undefined;
  forwarding: Forwarding | undefined;
  /** It is a call of gRPC, and is answered as one. */
  grpc: GrpcCall | undefined;
  /** It goes on as a call of gRPC, and is answered in JSON. */
  transcoding: Transcoding | undefined;
  /** The request asks for a WebSocket. */
  upgrade: ClientUpgrade | undefined;
  /** Of the reply's body, given to the client's connection. */
  bytes = 0;
  /** The parser has given up on the client's connection: nothing more can be read from it. */
  isDeaf = false;
  isFinished = false;
  /** The connection ends with this reply: what the client has sent behind it is not looked at. */
  isLast = false;

  #hasLeft = false;
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;

  constructor(core: GatewayCore, request: ClientRequest, response: ClientResponse, expectsContinue: boolean) {
    this.core = core;
    this.generation = core.generation;
    this.request = request;
    this.response = response;
    this.method = request.method ?? "";
    this.expectsContinue = expectsContinue;
    this.startedAtMs = core.clock.monotonicMs();
    this.origin = core.proxies?.originOf(request);
    this.clientAddress = this.origin?.address ?? plainAddress(request.socket.remoteAddress);
    this.requestId = this.origin?.requestId ?? randomHex(16);
    // A trace begins here, with a link to the stranger's: what it says of sampling is not taken over.
    const parent = strangerIn(request.rawHeaders);
    this.span = core.tracing.startSpan(methodLabel(this.method), { kind: "server", parent });
    core.counted(1);
    this.generation.use.counted(1);
    response.attach(this);
  }

  /** Takes the request as far as it goes without waiting. */
  begin(): void {
    try {
      admit(this);
    } catch (error) {
      this.fault(error);
    }
  }

  /** Its body is on its way to a service for as long as it moves, as that of a stream: the time of a whole request does not count. */
  get isStreaming(): boolean {
    const { body, grpc, taken } = this;
    return body !== undefined && !body.destroyed && (grpc !== undefined || taken?.deadlines === undefined);
  }

  /** It goes on as a WebSocket, for which neither the route's time nor a change of the document counts. */
  upgraded(): void {
    this.list?.remove(this);
    this.#leavePlace();
    this.#leaveGeneration();
  }

  /** Answers without the service, or breaks off when the reply has begun. */
  refuse(reason: Reason, detail?: string, headers: readonly string[] = []): void {
    if (this.isFinished) return;
    this.forwarding?.abort();
    this.list?.remove(this);
    this.body?.destroy();
    if (this.response.headersSent || this.upgrade?.tookMs !== undefined) this.cutOff(reason);
    else {
      this.reason = reason;
      answer(this, reason, detail, headers);
    }
  }

  /** A plugin refuses it, before anything was asked of the service. */
  reject(reason: PluginReasonName, entry: PluginReason, headers: readonly string[]): void {
    this.list?.remove(this);
    this.reason = reason;
    answerRejected(this, reason, entry, headers);
  }

  /** Answers without the service and without a body, when nothing is wrong. */
  answerEmpty(status: number, headers: readonly string[]): void {
    this.list?.remove(this);
    answerEmpty(this, status, headers);
  }

  /** The route's time is up. */
  expire(): void {
    try {
      this.refuse(this.response.headersSent ? "reply_stalled" : "deadline_exceeded");
    } catch (error) {
      this.fault(error);
    }
  }

  /** The parser has refused what came after the head, or the connection is broken. */
  breakOff(reason: Reason | undefined): void {
    this.isDeaf = true;
    const { request, response } = this;
    const hasAnswered = this.reason !== undefined && response.headersSent;
    if (hasAnswered && reason !== undefined) {
      if (!response.writableEnded) response.end(); // our reply stands: it waited for a body that will not come
    } else if (reason === undefined || request.complete) response.destroy();
    else this.refuse(reason);
  }

  /** Resets the connection: a clean end would make half a reply look whole. */
  cutOff(reason: Reason): void {
    this.reason = reason;
    if (this.upgrade) this.upgrade.destroy();
    else if (this.grpc && !this.response.writableEnded) {
      // A status that is not OK behind half a reply says so, and why.
      const { status, detail } = reasonOf(reason);
      this.response.addTrailers(pairsOf(grpcEnding(status, codeOf(reason), detail)));
      this.response.end();
    } else this.response.destroy();
  }

  /** A fault of our own: the caller gets a 500 without its text, and the error bus has it. */
  fault(error: unknown): void {
    this.#report(error);
    try {
      this.refuse("gateway_error");
    } catch (second) {
      this.#report(second);
      this.response.destroy();
    }
  }

  /** The reply has been sent, or its connection is gone. */
  finish(): void {
    if (this.isFinished) return;
    this.isFinished = true;
    const { core, response, request, forwarding, body } = this;
    this.list?.remove(this);
    const hasUpgraded = this.upgrade?.tookMs !== undefined;
    const isWhole = hasUpgraded || response.writableFinished;
    if (!isWhole) this.reason ??= core.isStopping ? "gateway_stopped" : "client_gone";
    forwarding?.abort();
    this.pluginRun?.end();
    this.encoder?.destroy();
    if (body && !request.complete) {
      body.destroy();
      if (!response.isStream && !request.socket.destroyed) awaitUpload(this);
    }
    this.upgrade?.release();
    if (this.grpc) {
      this.grpc.end();
      core.grpcCalls.ended(this);
    }
    this.#leavePlace();
    const replied = hasUpgraded ? 101 : response.statusCode;
    const isAsReplied = (isWhole && !this.grpc) || this.reason === undefined;
    const status = isAsReplied || this.reason === undefined ? replied : statusOf(this.reason, replied);
    try {
      core.observer.finished(this, status, core.clock.monotonicMs() - this.startedAtMs);
    } catch (error) {
      this.#report(error);
    }
    this.#leaveGeneration();
    core.counted(-1);
  }

  #leavePlace(): void {
    this.leaving?.abort();
    this.place?.release();
    this.place = undefined;
    this.servicePlace?.release();
    this.servicePlace = undefined;
  }

  #leaveGeneration(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.generation.use.counted(-1);
  }

  #report(error: unknown): void {
    const attributes = { route: this.taken?.name ?? "unmatched" };
    runInContext(this, () => this.core.errors.report(error, { origin: "request", attributes }));
  }
}
