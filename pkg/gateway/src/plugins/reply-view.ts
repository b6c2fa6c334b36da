import { headerOf } from "../router/conditions.ts";
import { dropHeader, guardHeader } from "./header-guard.ts";

/** The head of a service's reply as a plugin sees and changes it. */
export interface PluginReply {
  readonly status: number;
  readonly method: string;
  readonly routeName: string;
  readonly requestId: string;
  /** Several lines are joined by a comma; undefined when there is none. @param name - In lower case. */
  header(name: string): string | undefined;
  /** In the place of whatever is there. @throws {@link GatewayError} `ERR_GATEWAY_PLUGIN` for a header that is not a plugin's to change. */
  setHeader(name: string, value: string): void;
  /** Beside what is there. Throws as `setHeader` does. */
  addHeader(name: string, value: string): void;
  /** Throws as `setHeader` does. */
  removeHeader(name: string): void;
}

/** What all plugins are told of a reply. */
export type ReplyFacts = Pick<PluginReply, "status" | "method" | "routeName" | "requestId">;

/** @param headers - Name and value by turns, changed in place. */
export class ReplyView implements PluginReply {
  readonly status: number;
  readonly method: string;
  readonly routeName: string;
  readonly requestId: string;
  readonly #plugin: string;
  readonly #headers: string[];

  constructor(plugin: string, { status, method, routeName, requestId }: ReplyFacts, headers: string[]) {
    this.status = status;
    this.method = method;
    this.routeName = routeName;
    this.requestId = requestId;
    this.#plugin = plugin;
    this.#headers = headers;
  }

  header(name: string): string | undefined {
    return headerOf(this.#headers, name);
  }

  setHeader(name: string, value: string): void {
    guardHeader(this.#plugin, "reply", name, value);
    dropHeader(this.#headers, name);
    this.#headers.push(name, value);
  }

  addHeader(name: string, value: string): void {
    guardHeader(this.#plugin, "reply", name, value);
    this.#headers.push(name, value);
  }

  removeHeader(name: string): void {
    guardHeader(this.#plugin, "reply", name);
    dropHeader(this.#headers, name);
  }
}
