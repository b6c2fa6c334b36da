import type { Counter, Metrics } from "@plinth/kernel";
import type { CompressionRules } from "../config/schema-compression.ts";
import { headerOf } from "../router/conditions.ts";
import type { Exchange } from "../server/exchange.ts";
import { announceCoding, codingFor, weakenNotModified } from "./decide.ts";
import { Encoder, placesOf } from "./encoder.ts";

/** The replies that are compressed in this process: so many at one time, the others go as they are. */
export class Compressions {
  readonly #max: number;
  readonly #replies: Counter<"coding">;
  #open = 0;
  /** Of those that are open. */
  #places = 0;

  /** @param max - 0 for none. */
  constructor(max: number, metrics: Metrics) {
    this.#max = max;
    this.#replies = metrics.counter({
      name: "gateway_compressed_replies_total",
      help: "Replies by the coding they went out in, of those that rules and client let be compressed; `busy` for those that found as many under way as `gateway.maxCompressions`.",
      labels: ["coding"],
    });
    metrics.gauge({
      name: "gateway_compressions_open",
      help: "Replies that are being compressed.",
      collect: (gauge) => gauge.set({}, this.#open),
    });
  }

  /**
   * Decides about a service's reply, when nothing of it has gone out.
   * @param headers - Name and value by turns, changed in place.
   * @returns What its body goes through; undefined where it goes as it is, or has none.
   */
  encoderFor(exchange: Exchange, rules: CompressionRules, status: number, headers: string[]): Encoder | undefined {
    const { request, method, taken } = exchange;
    const requestHeaders = request.rawHeaders;
    if (status === 304) {
      weakenNotModified(headers, requestHeaders);
      return undefined;
    }
    const hasLength = headerOf(headers, "content-length") !== undefined;
    const coding = codingFor(rules, status, headers, { requestHeaders, hasToken: taken?.auth !== undefined });
    // To HTTP/1.0 a body of unknown length ends with its connection: half of it would look whole.
    if (coding === undefined || (request.httpVersionMajor === 1 && request.httpVersionMinor === 0)) return undefined;
    if (method === "HEAD") {
      announceCoding(headers, coding); // as the GET would have it
      return undefined;
    }
    const places = placesOf(coding, rules.level);
    if (this.#places + places > this.#max) {
      this.#replies.inc({ coding: "busy" });
      return undefined;
    }
    const encoder = new Encoder(exchange, {
      coding,
      level: rules.level,
      flushes: !hasLength,
      onRoom: () => exchange.forwarding?.resumeService(),
      onClosed: () => {
        this.#open--;
        this.#places -= places;
      },
    });
    this.#open++;
    this.#places += places;
    this.#replies.inc({ coding });
    announceCoding(headers, coding);
    return encoder;
  }
}
