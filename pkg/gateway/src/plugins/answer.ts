import type { PluginReason } from "./define.ts";

/** A reply that a plugin gives in the service's place. */
export interface PluginReplyInit {
  /** 200 to 599. */
  readonly status: number;
  /** By lower-case name. What is of the connection, or the gateway's to say, cannot be among them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: none. */
  readonly body?: string | Uint8Array;
}

/** How a plugin ends a request: made by `request.reply` and `request.reject` alone. */
export class PluginAnswer {
  readonly #content: PluginContent;

  constructor(content: PluginContent) {
    this.#content = content;
  }

  static contentOf(answer: PluginAnswer): PluginContent {
    return answer.#content;
  }
}

export type PluginContent =
  | { readonly kind: "replied"; readonly status: number; readonly headers: string[]; readonly body: string | Buffer }
  | {
      readonly kind: "rejected";
      readonly reason: string;
      readonly entry: PluginReason;
      readonly headers: readonly string[];
    };
