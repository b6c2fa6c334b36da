import type { Metrics } from "../metrics/metrics.ts";
import { aggregateSnapshots, type MetricsSnapshot } from "../metrics/snapshot.ts";
import type { WorkerMessage } from "./messages.ts";
import type { RunningWorker, Slot } from "./slot.ts";

/** One worker process, as what runs in the primary sees it. */
export interface TeamMember {
  /** Its number, from 1 on; one that takes the place of another has its number and is another member. */
  readonly worker: number;
  readonly pid: number | undefined;
  /** Whether all of its apps are up. */
  readonly isReady: boolean;
  /** Never throws; what is sent to a process that has gone is lost. `data` goes as JSON. */
  send(channel: string, data: unknown): void;
}

export interface TeamListener {
  /** What a member sent on the channel: anything, since a worker may have gone wrong. */
  readonly onMessage: (member: TeamMember, data: unknown) => void;
  /** A member has become ready. */
  readonly onReady?: ((member: TeamMember) => void) | undefined;
  /** A member has ended; nothing more comes of it. */
  readonly onLeft?: ((member: TeamMember) => void) | undefined;
}

/** The workers of a run, for what runs in the primary beside them. */
export interface WorkersTeam {
  /** How many there are to be. */
  readonly count: number;
  /** Those that run now, ready or not. */
  readonly members: readonly TeamMember[];
  /** Hears what comes on a channel of the name, and of the workers themselves. Returns how to end it. */
  listen(channel: string, listener: TeamListener): () => void;
  /** Has the scrape of each app show these too, beside those of the workers. Their names are to be unlike those of the workers. */
  addMetrics(source: Pick<Metrics, "snapshot">): void;
}

/** The team as the supervisor tells of it. */
export class Team implements WorkersTeam {
  readonly #slots: () => readonly Slot[];
  readonly count: number;
  readonly #members = new WeakMap<RunningWorker, TeamMember>();
  readonly #listeners = new Map<string, Set<TeamListener>>();
  readonly #metrics: Pick<Metrics, "snapshot">[] = [];

  /** @param slots - Asked whenever somebody wants to know who runs. */
  constructor(count: number, slots: () => readonly Slot[]) {
    this.count = count;
    this.#slots = slots;
  }

  get members(): readonly TeamMember[] {
    return this.#slots().flatMap(({ worker }) => (worker ? [this.#memberOf(worker)] : []));
  }

  listen(channel: string, listener: TeamListener): () => void {
    const those = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, those.add(listener));
    return () => void those.delete(listener);
  }

  addMetrics(source: Pick<Metrics, "snapshot">): void {
    this.#metrics.push(source);
  }

  receive(worker: RunningWorker, message: WorkerMessage): void {
    if (message.type === "ready") for (const listener of this.#all()) listener.onReady?.(this.#memberOf(worker));
    if (message.type !== "talk") return;
    for (const listener of this.#listeners.get(message.channel) ?? [])
      listener.onMessage(this.#memberOf(worker), message.data);
  }

  leave(worker: RunningWorker): void {
    for (const listener of this.#all()) listener.onLeft?.(this.#memberOf(worker));
  }

  /** `own` with what was added. */
  async withMetrics(own: MetricsSnapshot): Promise<MetricsSnapshot> {
    if (this.#metrics.length === 0) return own;
    return aggregateSnapshots([own, ...(await Promise.all(this.#metrics.map((source) => source.snapshot())))]);
  }

  #all(): TeamListener[] {
    return [...this.#listeners.values()].flatMap((those) => [...those]);
  }

  #memberOf(worker: RunningWorker): TeamMember {
    const known = this.#members.get(worker);
    if (known) return known;
    const member: TeamMember = {
      worker: worker.index,
      get pid() {
        return worker.process.pid;
      },
      get isReady() {
        return worker.readyAtMs !== undefined;
      },
      send: (channel, data) => worker.process.send({ type: "talk", channel, data }),
    };
    this.#members.set(worker, member);
    return member;
  }
}
