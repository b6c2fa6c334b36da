import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { runOutsideContext } from "@plinth/kernel";
import type { RpcChannel, StreamChannelCall, UnaryChannelCall } from "@plinth/transport";
import { closed } from "./failures.ts";
import type { BalancedChannel } from "./options.ts";

/** How the channel to a service is made. */
export interface ChannelPlan {
  /** Who is called, as it is registered. */
  readonly peer: string;
  /** Of a call with one reply whose caller does not say, in milliseconds. */
  readonly timeoutMs: number;
  readonly make: () => Promise<BalancedChannel>;
}

/** A channel that is ready to take the place of another. */
export interface Replacement {
  /** Calls that begin from now on go over it; those under way end where they began. */
  commit(): void;
  /** Lets go of it. */
  discard(): Promise<void>;
}

const never = new AbortController().signal;

/** A channel that is made with its first call, so that services which nobody calls are not followed; and made anew while calls go on. */
export class LazyChannel implements RpcChannel {
  #plan: ChannelPlan;
  #opening: Promise<BalancedChannel> | undefined;
  #isClosed = false;
  /** Those that were replaced and have calls under way. */
  readonly #past = new Set<BalancedChannel>();
  opened: BalancedChannel | undefined;

  constructor(plan: ChannelPlan) {
    this.#plan = plan;
  }

  get peer(): string {
    return this.#plan.peer;
  }

  get timeoutMs(): number {
    return this.#plan.timeoutMs;
  }

  async open(): Promise<BalancedChannel> {
    if (this.opened) return this.opened;
    if (this.#isClosed) throw closed(this.peer);
    // it outlives the request whose call is the first
    const opening = (this.#opening ??= runOutsideContext(this.#plan.make));
    try {
      const channel = await opening;
      if (this.#opening === opening) this.opened = channel;
      return channel;
    } catch (error) {
      if (this.#opening === opening) this.#opening = undefined;
      throw error;
    }
  }

  /**
   * Opens the channel of another plan beside this one, if this one has been opened.
   * @throws what opening it fails with: then nothing has changed.
   */
  async prepare(plan: ChannelPlan): Promise<Replacement> {
    const next = this.#opening && (await runOutsideContext(plan.make));
    return {
      commit: () => this.#replace(plan, next),
      discard: async () => next?.close(),
    };
  }

  unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    return this.opened ? this.opened.unary(call) : this.#whenOpen((channel) => channel.unary(call));
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const { replies } = await this.#whenOpen((channel) => ({ replies: channel.stream(call) }));
    yield* replies;
  }

  async close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    this.#isClosed = true;
    const channel = await this.#opening?.catch(() => undefined);
    const all = channel ? [channel, ...this.#past] : [...this.#past];
    await Promise.all(all.map((each) => each.close(options)));
  }

  /** Begins work on the channel that holds at that moment: one that was replaced while it was opened takes no calls. */
  async #whenOpen<T>(begin: (channel: BalancedChannel) => T | Promise<T>): Promise<T> {
    for (;;) {
      const channel = await this.open();
      if (channel === this.opened) return begin(channel);
    }
  }

  #replace(plan: ChannelPlan, next: BalancedChannel | undefined): void {
    if (this.#isClosed) return void next?.close();
    const past = this.#opening;
    this.#plan = plan;
    this.#opening = next && Promise.resolve(next);
    this.opened = next;
    past?.then(
      (channel) => this.#retire(channel),
      () => {}, // who opened it has been told
    );
  }

  #retire(channel: BalancedChannel): void {
    this.#past.add(channel);
    const forget = (): void => void this.#past.delete(channel);
    channel.close({ signal: this.#isClosed ? undefined : never }).then(forget, forget);
  }
}
