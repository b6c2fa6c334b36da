import type { Clock, PrimaryLink } from "@plinth/kernel";
import type { ConcurrencyCap } from "@plinth/resilience";
import type { DocumentChanges } from "../config/changes.ts";
import type { GatewayDocument, ParsedDocument } from "../config/schema.ts";
import { DocumentLink, type Preparing } from "./document-link.ts";
import { InstancesLink, type SeenServices, type TeamInstances } from "./instances.ts";
import { LeasedCap } from "./leased-cap.ts";
import { isLease } from "./places.ts";
import { PrimaryRateStore } from "./rates.ts";
import { TeamRevocations } from "./revocations.ts";
import { channels, type GatewayTeam, type PlacesOptions, type TeamState } from "./team.ts";

export interface WorkerTeamOptions {
  readonly link: PrimaryLink;
  readonly clock: Clock;
  readonly toDocument: (document: unknown) => GatewayDocument;
  /** This worker has to end, and another to take its place. */
  readonly onLost: (error: unknown) => void;
}

/** What a worker has with the others, by its primary. */
export class WorkerTeam implements GatewayTeam {
  readonly document: GatewayDocument;
  readonly count: number;
  readonly rates: PrimaryRateStore;
  readonly revocations: TeamRevocations;
  readonly #options: WorkerTeamOptions;
  readonly #documents: DocumentLink;
  readonly #caps = new Map<number, LeasedCap>();
  readonly #instances: InstancesLink;
  readonly #endListening: () => void;
  #gateway: { describe(): { readonly services: SeenServices } } | undefined;
  #lastCap = 0;

  private constructor(options: WorkerTeamOptions, documents: DocumentLink, document: GatewayDocument, count: number) {
    const { link, clock } = options;
    this.#options = options;
    this.#documents = documents;
    this.document = document;
    this.count = count;
    this.rates = new PrimaryRateStore(link, clock);
    this.revocations = new TeamRevocations(link, clock);
    this.revocations.ask();
    this.#instances = new InstancesLink(link, clock, () => this.#gateway?.describe().services ?? []);
    this.#endListening = link.listen(channels.places, {
      onMessage: (data) => {
        if (!isLease(data)) return;
        const [, cap, more, target] = data;
        this.#caps.get(cap)?.lease(more, target);
      },
    });
  }

  /** @throws {@link GatewayError} `ERR_GATEWAY_WORKERS` where the primary does not answer. */
  static async open(options: WorkerTeamOptions): Promise<WorkerTeam> {
    const documents = new DocumentLink(options);
    try {
      const { document, configured } = await documents.hello();
      return new WorkerTeam(options, documents, document, configured);
    } catch (error) {
      documents.close();
      throw error;
    }
  }

  get state(): TeamState | undefined {
    return this.#documents.state;
  }

  /** From now on this gateway takes part in reloads. To be called again when it listens. */
  join(gateway: Preparing & { describe(): { readonly services: SeenServices } }): void {
    this.#gateway = gateway;
    this.#documents.join(gateway);
  }

  /** What all workers know of the instances of services. */
  instances(): Promise<TeamInstances> {
    return this.#instances.ask();
  }

  reload(document: ParsedDocument): Promise<DocumentChanges> {
    return this.#documents.reload(document);
  }

  capOf(route: string, options: PlacesOptions): ConcurrencyCap & { close(): void } {
    const { link, clock } = this.#options;
    const id = ++this.#lastCap;
    const onClose = (): void => void this.#caps.delete(id);
    const cap = new LeasedCap({ ...options, route, id, link, clock, workers: this.count, onClose });
    this.#caps.set(id, cap);
    return cap;
  }

  close(): void {
    this.#documents.close();
    this.revocations.endListening();
    this.#instances.close();
    this.#endListening();
    void this.rates.close();
  }
}
