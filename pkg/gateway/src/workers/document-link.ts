import type { Clock, PrimaryLink, Scheduled } from "@plinth/kernel";
import type { DocumentChanges } from "../config/changes.ts";
import type { GatewayDocument, ParsedDocument } from "../config/schema.ts";
import { GatewayError } from "../errors.ts";
import type { PreparedDocument } from "../server/generations.ts";
import { fromFault, type FromPrimary, type FromWorker, toFault, toFromPrimary } from "./messages.ts";
import { channels, type TeamState } from "./team.ts";

/** The gateway of this worker. */
export interface Preparing {
  readonly host: string;
  readonly port: number;
  prepare(document: unknown): Promise<PreparedDocument>;
}

export interface DocumentLinkOptions {
  readonly link: PrimaryLink;
  readonly clock: Clock;
  /** Knows a document that came from the primary, which has checked it. */
  readonly toDocument: (document: unknown) => GatewayDocument;
  /** This worker cannot take what the others have: it has to end, and another to take its place. */
  readonly onLost: (error: unknown) => void;
}

/** How long the primary is waited for at the start, in milliseconds. */
const helloMs = 10_000;
/** A document that was prepared is let go when no word has come of it for so long, in milliseconds. */
const holdMs = 30_000;

interface Held {
  readonly round: number;
  readonly generation: number;
  readonly prepared: PreparedDocument;
  readonly limit: Scheduled;
}

/** The worker's end of what keeps all workers to one document. */
export class DocumentLink {
  readonly #options: DocumentLinkOptions;
  readonly #endListening: () => void;
  readonly #welcome = Promise.withResolvers<Extract<FromPrimary, { type: "welcome" }>>();
  readonly #asked = new Map<number, (answer: Extract<FromPrimary, { type: "reloaded" }> | undefined) => void>();
  /** The round whose document is being built. */
  #preparing: number | undefined;
  #gateway: Preparing | undefined;
  #held: Held | undefined;
  #generation = 0;
  #lastId = 0;
  state: TeamState | undefined;

  constructor(options: DocumentLinkOptions) {
    this.#options = options;
    this.#welcome.promise.catch(() => undefined); // told by whoever waits for it
    this.#endListening = options.link.listen(channels.document, {
      onMessage: (data) => this.#receive(toFromPrimary(data)),
      onGone: () => this.#gone(),
    });
  }

  /** The document that the workers go by. @throws {@link GatewayError} `ERR_GATEWAY_WORKERS` where the primary does not answer. */
  async hello(): Promise<{ readonly document: GatewayDocument; readonly configured: number }> {
    const what = `the primary has not told its document within ${helloMs} ms; run workers with { primary } that has gatewayPrimaryModuleOf`;
    const limit = this.#options.clock.schedule(helloMs, () =>
      this.#welcome.reject(new GatewayError("ERR_GATEWAY_WORKERS", "unavailable", what)),
    );
    this.#tell({ type: "hello" });
    try {
      const { generation, configured, document } = await this.#welcome.promise;
      this.#generation = generation;
      return { document: this.#options.toDocument(document), configured };
    } finally {
      limit.cancel();
    }
  }

  /** From now on this gateway takes part. To be called again when it listens. */
  join(gateway: Preparing): void {
    this.#gateway = gateway;
    const { host, port } = gateway;
    this.#tell({ type: "joined", generation: this.#generation, ...(port > 0 ? { host, port } : {}) });
  }

  /** Has all workers take a document, or none. */
  async reload(document: ParsedDocument): Promise<DocumentChanges> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<Extract<FromPrimary, { type: "reloaded" }> | undefined>();
    this.#asked.set(id, resolve);
    if (!this.#options.link.isOpen) resolve(undefined);
    this.#tell({ type: "reload", id, document });
    const answer = await promise;
    this.#asked.delete(id);
    if (answer?.changes) return answer.changes;
    throw fromFault(answer?.fault ?? { message: "the primary has gone, and this worker is about to end" });
  }

  close(): void {
    this.#endListening();
    this.#gone();
  }

  #receive(message: FromPrimary | undefined): void {
    if (message?.type === "welcome") this.#welcome.resolve(message);
    if (message?.type === "prepare") void this.#prepare(message);
    if (message?.type === "commit") this.#commit(message);
    if (message?.type === "discard") this.#discard(message.round);
    if (message?.type === "sync") void this.#sync(message);
    if (message?.type === "reloaded") this.#asked.get(message.id)?.(message);
    if (message?.type === "state") this.state = message.state;
  }

  async #prepare({ round, generation, document }: Extract<FromPrimary, { type: "prepare" }>): Promise<void> {
    this.#preparing = round;
    try {
      const prepared = await this.#required().prepare(this.#options.toDocument(document));
      if (this.#preparing !== round) {
        prepared.discard();
        return;
      }
      this.#preparing = undefined;
      const limit = this.#options.clock.schedule(holdMs, () => this.#discard(round));
      this.#held = { round, generation, prepared, limit };
      this.#tell({ type: "prepared", round });
    } catch (error) {
      this.#tell({ type: "prepared", round, fault: toFault(error) });
    }
  }

  #commit({ round }: Extract<FromPrimary, { type: "commit" }>): void {
    const held = this.#held;
    if (this.#preparing === round) this.#preparing = undefined;
    if (held?.round !== round) {
      this.#tell({ type: "behind", round }); // it stood still for so long that it has let it go
      return;
    }
    this.#held = undefined;
    held.limit.cancel();
    try {
      held.prepared.commit();
      this.#generation = held.generation;
    } catch (error) {
      this.#lost(error);
    }
  }

  #discard(round: number): void {
    const held = this.#held;
    if (this.#preparing === round) this.#preparing = undefined;
    if (held?.round !== round) return;
    this.#held = undefined;
    held.limit.cancel();
    held.prepared.discard();
  }

  async #sync({ generation, document }: Extract<FromPrimary, { type: "sync" }>): Promise<void> {
    try {
      const prepared = await this.#required().prepare(this.#options.toDocument(document));
      if (generation < this.#generation) {
        prepared.discard();
        return;
      }
      prepared.commit();
      this.#generation = generation;
      this.#tell({ type: "joined", generation });
    } catch (error) {
      this.#lost(error);
    }
  }

  /** One that drains takes none any more; any other must not go on with what the others have left. */
  #lost(error: unknown): void {
    if (error instanceof GatewayError && error.code === "ERR_GATEWAY_STATE") return;
    this.#options.onLost(error);
  }

  #required(): Preparing {
    if (this.#gateway) return this.#gateway;
    throw new GatewayError("ERR_GATEWAY_STATE", "failed_precondition", "the gateway of this worker is not up yet");
  }

  #gone(): void {
    for (const resolve of this.#asked.values()) resolve(undefined);
    if (this.#held) this.#discard(this.#held.round);
  }

  #tell(message: FromWorker): void {
    this.#options.link.send(channels.document, message);
  }
}
