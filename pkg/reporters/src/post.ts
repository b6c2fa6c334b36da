import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { type Clock, messageOf } from "@plinth/kernel";
import { ReporterError } from "./errors.ts";

/** Of a reply's body nothing is used. Up to so many bytes it is read, so that the connection can be used again; then it is cut. */
const maxReplyBytes = 65_536;

export interface PosterOptions {
  readonly url: URL;
  /** Certificates to trust instead of Node's own, as PEM. */
  readonly ca?: string | undefined;
  readonly clock: Clock;
}

export interface PostRequest {
  readonly body: string | Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  /** From the call to the end of the reply, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** What a server answered; whether that is good is for the caller to say. */
export interface PostAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/**
 * Posts to one URL, on connections of its own: certificates are verified whatever the environment says, its proxies are not used,
 * and redirects are not followed.
 */
export class Poster {
  /** Of the URL only this may stand in messages: the rest may hold a token. */
  readonly origin: string;
  readonly #options: PosterOptions;
  readonly #http: ReturnType<typeof openHttp>;

  constructor(options: PosterOptions) {
    this.#options = options;
    this.origin = options.url.origin;
    this.#http = openHttp(options);
  }

  /**
   * Resolves with the head of the reply.
   * @throws {@link ReporterError} `ERR_REPORTER_TIMEOUT`, `ERR_REPORTER_UNAVAILABLE`; the signal's reason.
   */
  async post(request: PostRequest): Promise<PostAnswer> {
    // each time one kept connection fewer is left, so that it ends with a new one
    for (;;) {
      const answer = await this.#send(request);
      if (answer !== "stale") return answer;
    }
  }

  /** `stale` when the connection had been kept from before, and the server had closed it meanwhile. */
  async #send({ body, headers, timeoutMs, signal }: PostRequest): Promise<PostAnswer | "stale"> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<PostAnswer | "stale">();
    const length = String(Buffer.byteLength(body));
    const request = this.#http.request({ method: "POST", headers: { ...headers, "content-length": length } });
    const cut = (reason: unknown): void => {
      reject(reason);
      request.destroy();
    };
    const onAbort = (): void => cut(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = this.#options.clock.schedule(timeoutMs, () => cut(this.#timeoutError(timeoutMs)));
    request.on("response", (response) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
      discard(response);
    });
    request.on("error", (error) => {
      if (request.reusedSocket && isReset(error)) resolve("stale");
      else reject(this.#unavailableError(error));
    });
    // comes last, also of a reply: until then a slow body stays under the limit
    request.on("close", () => {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      reject(this.#unavailableError(new Error("the connection was closed without an answer")));
    });
    request.end(body);
    return promise;
  }

  /** Cuts what is in flight. */
  close(): void {
    this.#http.agent.destroy();
  }

  #timeoutError(timeoutMs: number): ReporterError {
    return new ReporterError(
      "ERR_REPORTER_TIMEOUT",
      "deadline_exceeded",
      `${this.origin} did not answer within ${timeoutMs} ms; is it stalled, or the network cut?`,
      { retryable: true },
    );
  }

  #unavailableError(cause: Error): ReporterError {
    return new ReporterError(
      "ERR_REPORTER_UNAVAILABLE",
      "unavailable",
      `${this.origin} cannot be reached: ${messageOf(cause)}; check the address and the network`,
      { cause, retryable: !isCertificateFault(cause) },
    );
  }
}

/** Reading `node:http` as a module loads more than what is used of it: see `bench/README.md`. */
function openHttp({ url, ca }: PosterOptions) {
  if (url.protocol === "https:") {
    const { Agent, request } = process.getBuiltinModule("node:https");
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) });
    return { agent, request: (options: RequestParts) => request(url, { ...options, agent }) };
  }
  const { Agent, request } = process.getBuiltinModule("node:http");
  const agent = new Agent({ keepAlive: true });
  return { agent, request: (options: RequestParts) => request(url, { ...options, agent }) };
}

interface RequestParts {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
}

function discard(response: IncomingMessage): void {
  let bytes = 0;
  response.on("error", () => {}); // the answer is known
  response.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxReplyBytes) response.destroy();
  });
}

function isReset(error: Error): boolean {
  return "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

/** Trying again does not mend a certificate. @see https://nodejs.org/api/tls.html#x509-certificate-error-codes */
function isCertificateFault(error: Error): boolean {
  return "code" in error && /CERT|SIGNATURE|UNABLE_TO|^HOSTNAME_MISMATCH/.test(String(error.code));
}
