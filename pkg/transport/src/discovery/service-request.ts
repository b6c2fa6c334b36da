import type { IncomingHttpHeaders } from "node:http";
import type { Duplex } from "node:stream";
import { finished } from "node:stream";
import type { Outcome, Seat } from "@plinth/resilience";
import type { Dispatcher } from "undici";
import { instanceHeader } from "../instance.ts";
import { SteadyController } from "./steady-controller.ts";
import type { AskingHandler, Cuttable, ServiceTargets, Target } from "./service-targets.ts";

type Controller = Dispatcher.DispatchController;

/** One request, and its tries at instances. Whoever sent it sees one. */
export class ServiceRequest implements Cuttable {
  readonly #targets: ServiceTargets;
  readonly #options: Dispatcher.DispatchOptions;
  readonly #handler: Dispatcher.DispatchHandler;
  readonly #controller = new SteadyController();
  readonly #headers: string[];
  #attempt: Attempt | undefined;
  readonly #tried = new Set<Target>();
  #tries = 0;
  #hasStarted = false;
  #hasEnded = false;

  constructor(
    targets: ServiceTargets,
    options: Dispatcher.DispatchOptions,
    host: string,
    handler: Dispatcher.DispatchHandler,
  ) {
    this.#targets = targets;
    this.#options = options;
    this.#handler = handler;
    this.#headers = headersOf(options, host);
  }

  /** @throws {@link TransportError} when it is not taken; else the handler is told of what fails. */
  start(): void {
    this.#targets.begin(this);
    const { answer } = this.#targets;
    if (answer === undefined) this.#next();
    else void answer.then(() => this.#next());
  }

  cut(error: Error): void {
    if (this.#hasEnded) return;
    this.#attempt?.giveUp("unknown");
    this.#fail(error);
  }

  #next(): void {
    if (this.#hasEnded) return;
    const seat = this.#targets.pick(this.#tried);
    if (!seat) {
      this.#fail(this.#targets.absence);
      return;
    }
    this.#tries++;
    const { identity, pool } = seat.member;
    const headers = identity === undefined ? this.#headers : [...this.#headers, instanceHeader, identity];
    this.#attempt = new Attempt(this, seat, this.#targets.nowMs());
    pool.dispatch({ ...this.#options, headers }, this.#attempt);
  }

  /** The connection stands and the request is about to be written. */
  started(inner: Controller, context: unknown): void {
    this.#controller.inner = inner;
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#handler.onRequestStart?.(this.#controller, context);
  }

  /** @returns Whether the reply is one for whoever sent the request. */
  replied(attempt: Attempt, status: number, headers: IncomingHttpHeaders, message: string | undefined): boolean {
    if (status >= 200) {
      attempt.repliedAtMs = this.#targets.nowMs();
      attempt.hasFailed = unable.has(status);
    }
    if (status === 421 && attempt.seat.member.identity !== undefined) {
      this.#targets.misdirect(attempt.seat);
      attempt.release("local_failure");
      // `fetch` itself asks once more where it can
      if (isRepeatable(this.#options.body) && this.#mayTryAnother(attempt)) {
        attempt.giveUp("local_failure");
        this.#next();
        return false;
      }
    }
    this.#handler.onResponseStart?.(this.#controller, status, headers, message);
    return true;
  }

  upgraded(status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    finished(socket, () => this.#end("success"));
    this.#handler.onRequestUpgrade?.(this.#controller, status, headers, socket);
  }

  data(chunk: Buffer): void {
    this.#handler.onResponseData?.(this.#controller, chunk);
  }

  replyEnded(trailers: IncomingHttpHeaders): void {
    this.#end("success");
    this.#handler.onResponseEnd?.(this.#controller, trailers);
  }

  failed(attempt: Attempt, error: Error): void {
    const { isSent, isReused, hasReplied } = attempt;
    const { body, method } = this.#options;
    const isConnecting = !isSent && !isFaultOfCaller(error);
    attempt.giveUp(hasReplied ? "success" : isConnecting ? "local_failure" : "unknown");
    const isAborted = this.#controller.aborted;
    // The instance closed an idle connection just as the request went out on it: asking again is safe for safe methods.
    const isRace =
      isSent && isReused && !hasReplied && isReset(error) && safeMethods.has(method) && (body ?? null) === null;
    if (isConnecting && this.#mayTryAnother(attempt)) this.#next();
    else if (isRace && !isAborted && this.#tries < this.#targets.maxTries) this.#next();
    else this.#fail(error);
  }

  bodySent(chunk: Buffer): void {
    this.#handler.onBodySent?.(chunk);
  }

  requestSent(): void {
    this.#handler.onRequestSent?.();
  }

  responseStarted(): void {
    this.#handler.onResponseStarted?.();
  }

  release({ seat, pickedAtMs, repliedAtMs, hasFailed }: Attempt, outcome: Outcome): void {
    const told = outcome === "success" && hasFailed ? "failure" : outcome;
    this.#targets.release(seat, told, pickedAtMs, repliedAtMs);
  }

  #mayTryAnother({ seat }: Attempt): boolean {
    this.#tried.add(seat.member);
    return this.#tries < this.#targets.maxTries && !this.#controller.aborted && this.#targets.hasOther(this.#tried);
  }

  #fail(error: Error): void {
    if (this.#hasEnded) return;
    this.#end("unknown");
    this.#handler.onResponseError?.(this.#controller, error);
  }

  #end(outcome: Outcome): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#attempt?.release(outcome);
    this.#targets.end(this);
  }
}

/** What undici tells of one try. It is told nothing more once the request has gone on to another. */
class Attempt implements AskingHandler {
  readonly seat: Seat<Target>;
  readonly pickedAtMs: number;
  repliedAtMs: number | undefined;
  /** The instance says that it cannot serve. */
  hasFailed = false;
  readonly #request: ServiceRequest;
  connection: { served: number } | undefined = undefined;
  isSent = false;
  isReused = false;
  hasReplied = false;
  #controller: Controller | undefined;
  #isOver = false;
  #isReleased = false;

  constructor(request: ServiceRequest, seat: Seat<Target>, pickedAtMs: number) {
    this.#request = request;
    this.seat = seat;
    this.pickedAtMs = pickedAtMs;
  }

  /** Nobody waits for it any more. */
  giveUp(outcome: Outcome): void {
    this.#isOver = true;
    this.release(outcome);
    this.#controller?.abort(new Error("given up"));
  }

  release(outcome: Outcome): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#request.release(this, outcome);
  }

  onRequestStart(controller: Controller, context: unknown): void {
    if (this.#isOver) {
      controller.abort(new Error("given up"));
      return;
    }
    this.#controller = controller;
    this.isSent = true;
    this.isReused = this.connection !== undefined && this.connection.served++ > 0;
    this.#request.started(controller, context);
  }

  onRequestUpgrade(_controller: Controller, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    if (this.#isOver) return;
    this.hasReplied = true;
    this.#request.upgraded(status, headers, socket);
  }

  onResponseStart(_controller: Controller, status: number, headers: IncomingHttpHeaders, message?: string): void {
    if (!this.#isOver) this.hasReplied = this.#request.replied(this, status, headers, message) && status >= 200;
  }

  onResponseData(_controller: Controller, chunk: Buffer): void {
    if (!this.#isOver) this.#request.data(chunk);
  }

  onResponseEnd(_controller: Controller, trailers: IncomingHttpHeaders): void {
    if (!this.#isOver) this.#request.replyEnded(trailers);
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    if (!this.#isOver) this.#request.failed(this, error);
  }

  onBodySent(chunk: Buffer): void {
    if (!this.#isOver) this.#request.bodySent(chunk);
  }

  onRequestSent(): void {
    if (!this.#isOver) this.#request.requestSent();
  }

  onResponseStarted(): void {
    if (!this.#isOver) this.#request.responseStarted();
  }
}

/** Statuses that speak against an instance. */
const unable: ReadonlySet<number> = new Set([500, 502, 503, 504]);
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const resets: ReadonlySet<string> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);

function isReset(error: Error): boolean {
  return "code" in error && resets.has(String(error.code));
}

/** No other instance would be sent it either. */
function isFaultOfCaller(error: Error): boolean {
  return "code" in error && (error.code === "UND_ERR_INVALID_ARG" || error.code === "UND_ERR_NOT_SUPPORTED");
}

/** Whether the same bytes can be sent once more. */
function isRepeatable(body: Dispatcher.DispatchOptions["body"]): boolean {
  return body === null || body === undefined || typeof body === "string" || body instanceof Uint8Array;
}

/** Name and value by turns: those given, and the name in the URL as the host unless another is. */
function headersOf({ headers }: Dispatcher.DispatchOptions, host: string): string[] {
  const flat: string[] = [];
  let hasHost = false;
  const add = (name: string, value: unknown): void => {
    const lower = name.toLowerCase();
    if (lower === instanceHeader || value === undefined || value === null) return;
    hasHost ||= lower === "host";
    for (const each of Array.isArray(value) ? value : [value]) flat.push(name, String(each));
  };
  if (Array.isArray(headers))
    for (let at = 0; at + 1 < headers.length; at += 2) add(String(headers[at]), headers[at + 1]);
  else if (headers && Symbol.iterator in headers) for (const [name, value] of headers) add(name, value);
  else if (headers) for (const [name, value] of Object.entries(headers)) add(name, value);
  if (!hasHost) flat.push("host", host);
  return flat;
}
