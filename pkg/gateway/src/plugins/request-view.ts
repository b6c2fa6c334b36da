import { headerOf } from "../router/conditions.ts";
import type { Identity } from "../headers/outgoing.ts";
import type { RequestHead } from "../headers/request-head.ts";
import type { Exchange } from "../server/exchange.ts";
import { PluginAnswer, type PluginReplyInit } from "./answer.ts";
import { type GatewayPlugin, pluginError } from "./define.ts";
import { dropHeader, guardHeader } from "./header-guard.ts";

/** A request as a plugin sees and changes it. Its body is the service's. */
export interface PluginRequest<Reason extends string = string> {
  readonly method: string;
  /** Canonical, as it is matched and authorised: that of the client, before any rewrite. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  /** Lower case, without port. */
  readonly hostName: string;
  readonly requestId: string;
  readonly clientAddress: string;
  /** Undefined at the stage `edge`. */
  readonly routeName: string | undefined;
  /** Who calls, by its token; undefined at the stage `edge`, and on anonymous routes. */
  readonly caller: Identity | undefined;
  /** Aborts when the client has gone or the time is up. */
  readonly signal: AbortSignal;
  /**
   * Several lines are joined by a comma; undefined when there is none. The token, and what clients may not say of themselves, is not there.
   * @param name - In lower case.
   */
  header(name: string): string | undefined;
  /**
   * What the service gets in the place of whatever is there; what comes later, such as a route's match by header, sees it too. Beside
   * headers of the message a plugin may set `plinth-plugin-NAME-…`, which no client can.
   * @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` for a header that is not a plugin's to change.
   */
  setHeader(name: string, value: string): void;
  /** Beside what is there. Throws as `setHeader` does. */
  addHeader(name: string, value: string): void;
  /** Throws as `setHeader` does. */
  removeHeader(name: string): void;
  /**
   * An answer in the service's place, to be returned.
   * @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` for a status that is none, or a header that is not a plugin's.
   */
  reply(init: PluginReplyInit): PluginAnswer;
  /**
   * A refusal as problem+json for one of the plugin's own reasons, to be returned. Throws as `reply` does.
   * @param headers - Such as `www-authenticate` and `retry-after`, by lower-case name.
   */
  reject(reason: Reason, headers?: Readonly<Record<string, string>>): PluginAnswer;
}

/** What plugins are told beside what an exchange knows. */
export interface RequestFacts {
  readonly head: RequestHead;
  readonly caller: Identity | undefined;
}

export class RequestView implements PluginRequest {
  readonly caller: Identity | undefined;
  readonly #exchange: Exchange;
  readonly #head: RequestHead;
  readonly #plugin: GatewayPlugin;
  readonly #signal: () => AbortSignal;

  constructor(exchange: Exchange, { head, caller }: RequestFacts, plugin: GatewayPlugin, signal: () => AbortSignal) {
    this.#exchange = exchange;
    this.#head = head;
    this.caller = caller;
    this.#plugin = plugin;
    this.#signal = signal;
  }

  get method(): string {
    return this.#exchange.method;
  }

  get path(): string {
    return this.#head.path;
  }

  get query(): string {
    return this.#head.query;
  }

  get hostName(): string {
    return this.#head.hostName;
  }

  get requestId(): string {
    return this.#exchange.requestId;
  }

  get clientAddress(): string {
    return this.#exchange.clientAddress;
  }

  get routeName(): string | undefined {
    return this.#exchange.taken?.name;
  }

  get signal(): AbortSignal {
    return this.#signal();
  }

  header(name: string): string | undefined {
    return headerOf(this.#head.headers, name);
  }

  setHeader(name: string, value: string): void {
    guardHeader(this.#plugin.name, "request", name, value);
    this.#requireUnsent();
    dropHeader(this.#head.headers, name);
    this.#head.headers.push(name, value);
  }

  addHeader(name: string, value: string): void {
    guardHeader(this.#plugin.name, "request", name, value);
    this.#requireUnsent();
    this.#head.headers.push(name, value);
  }

  removeHeader(name: string): void {
    guardHeader(this.#plugin.name, "request", name);
    this.#requireUnsent();
    dropHeader(this.#head.headers, name);
  }

  reply({ status, headers = {}, body = "" }: PluginReplyInit): PluginAnswer {
    const { name } = this.#plugin;
    if (!Number.isInteger(status) || status < 200 || status > 599)
      throw pluginError(`plugin ${name} replies with status ${status}; expected 200 to 599`);
    const given = typeof body === "string" ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    return new PluginAnswer({ kind: "replied", status, headers: this.#flat(headers), body: given });
  }

  reject(reason: string, headers: Readonly<Record<string, string>> = {}): PluginAnswer {
    const { name, reasons } = this.#plugin;
    const entry = reasons.get(reason);
    if (!entry) throw pluginError(`plugin ${name} has no reason ${JSON.stringify(reason)}`);
    return new PluginAnswer({ kind: "rejected", reason, entry, headers: this.#flat(headers) });
  }

  #flat(headers: Readonly<Record<string, string>>): string[] {
    return Object.entries(headers).flatMap(([name, value]) => {
      guardHeader(this.#plugin.name, "reply", name, value);
      return [name, value];
    });
  }

  /** A promise that is long settled must not reach into what is under way. */
  #requireUnsent(): void {
    if (this.#exchange.forwarding)
      throw pluginError(`plugin ${this.#plugin.name} changes a request after it was given on`);
  }
}
