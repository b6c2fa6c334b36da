import type { Clock, Logger, TeamMember, WorkersTeam } from "@plinth/kernel";
import { changesBetween, type DocumentChanges } from "../config/changes.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { type Fault, fromFault, type FromPrimary, type FromWorker, toFault, toFromWorker } from "./messages.ts";
import { channels, type TeamState } from "./team.ts";

export interface RoundsOptions {
  readonly team: WorkersTeam;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the first workers begin with. */
  readonly document: ParsedDocument;
  /** Checks what a worker's code wants all to take. @throws {@link GatewayConfigError} with every fault. */
  readonly check: (document: unknown) => ParsedDocument;
  /** A worker listens there. */
  readonly onListens?: (at: { readonly host: string; readonly port: number }) => void;
  /** How long workers have to prepare a document, in milliseconds. Default 10_000. */
  readonly prepareMs?: number;
}

interface Joined {
  generation: number;
}

interface Round {
  readonly number: number;
  /** Those that have not said whether they can. */
  readonly waiting: Set<TeamMember>;
  readonly settle: (refusal: { readonly fault: Fault; readonly who: string } | undefined) => void;
}

/**
 * Keeps all workers to one document, in the primary. A new one is prepared by all of them; only when each has said that it can, each
 * is told to take it, and when one cannot, does not say so in time, or ends meanwhile, all let it go. Who starts later gets what
 * the others have.
 */
export class DocumentRounds {
  readonly #options: RoundsOptions;
  readonly #joined = new Map<TeamMember, Joined>();
  readonly #endListening: () => void;
  #document: ParsedDocument;
  #generation = 1;
  #rounds = 0;
  #wasWhole = false;
  #round: Round | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#document = options.document;
    this.#endListening = options.team.listen(channels.document, {
      onMessage: (member, data) => this.#receive(member, toFromWorker(data)),
      onReady: () => this.#tellState(),
      onLeft: (member) => this.#left(member),
    });
  }

  get state(): TeamState {
    const { members, count } = this.#options.team;
    const workers = members.map((member) => {
      const { worker, pid, isReady } = member;
      return { worker, pid, generation: this.#joined.get(member)?.generation ?? 0, isReady };
    });
    this.#wasWhole ||= workers.filter(({ isReady }) => isReady).length === count;
    return { generation: this.#generation, configured: count, wasWhole: this.#wasWhole, workers };
  }

  /** Has all workers take a document, or none. Calls follow one another. @throws What the first worker that cannot says. */
  reload(document: ParsedDocument): Promise<DocumentChanges> {
    const own = this.#turn.then(() => this.#replace(document));
    this.#turn = own.catch(() => undefined); // told to who asked for it
    return own;
  }

  close(): void {
    this.#endListening();
  }

  async #replace(document: ParsedDocument): Promise<DocumentChanges> {
    const { clock, prepareMs = 10_000 } = this.#options;
    const changes = changesBetween(this.#document, document);
    if (!changes.any) return changes;
    const number = ++this.#rounds;
    const generation = this.#generation + 1;
    const members = [...this.#joined.keys()];
    const { promise, resolve } = Promise.withResolvers<Parameters<Round["settle"]>[0]>();
    const round: Round = { number, waiting: new Set(members), settle: resolve };
    this.#round = round;
    for (const member of members) tell(member, { type: "prepare", round: number, generation, document });
    if (members.length === 0) resolve(undefined);
    const limit = clock.schedule(prepareMs, () => {
      const late = [...round.waiting].map(({ worker }) => worker).join(", ");
      resolve({ fault: { message: `it did not prepare it within ${prepareMs} ms` }, who: `worker ${late}` });
    });
    const refusal = await promise;
    limit.cancel();
    this.#round = undefined;
    if (refusal) {
      for (const member of members) tell(member, { type: "discard", round: number });
      throw fromFault(refusal.fault, refusal.who);
    }
    this.#document = document;
    this.#generation = generation;
    for (const [member, joined] of this.#joined) {
      if (members.includes(member)) {
        joined.generation = generation;
        tell(member, { type: "commit", round: number, generation });
      } else this.#sync(member); // it began with the one before while the others prepared
    }
    this.#tellState();
    return changes;
  }

  #receive(member: TeamMember, message: FromWorker | undefined): void {
    const { team, onListens } = this.#options;
    if (message?.type === "hello") {
      const { count: configured } = team;
      tell(member, { type: "welcome", generation: this.#generation, configured, document: this.#document });
    }
    if (message?.type === "joined") {
      const { generation, host, port } = message;
      this.#joined.set(member, { generation });
      if (generation !== this.#generation) this.#sync(member);
      if (host !== undefined && port !== undefined) onListens?.({ host, port });
      this.#tellState();
    }
    if (message?.type === "behind") this.#sync(member);
    if (message?.type === "prepared") this.#prepared(member, message);
    if (message?.type === "reload") void this.#reloadFor(member, message);
  }

  #prepared(member: TeamMember, { round: number, fault }: Extract<FromWorker, { type: "prepared" }>): void {
    const round = this.#round;
    if (round?.number !== number || !round.waiting.delete(member)) return;
    if (fault) round.settle({ fault, who: `worker ${member.worker}` });
    else if (round.waiting.size === 0) round.settle(undefined);
  }

  #left(member: TeamMember): void {
    this.#joined.delete(member);
    if (this.#round?.waiting.delete(member) === true)
      this.#round.settle({ fault: { message: "it ended while it prepared it" }, who: `worker ${member.worker}` });
    this.#tellState();
  }

  async #reloadFor(member: TeamMember, { id, document }: Extract<FromWorker, { type: "reload" }>): Promise<void> {
    try {
      tell(member, { type: "reloaded", id, changes: copyOf(await this.reload(this.#options.check(document))) });
    } catch (error) {
      tell(member, { type: "reloaded", id, fault: toFault(error) });
    }
  }

  /** Has one that is behind the others take what they have. */
  #sync(member: TeamMember): void {
    this.#options.log.info("worker gets the document of the others", {
      worker: member.worker,
      generation: this.#generation,
    });
    tell(member, { type: "sync", generation: this.#generation, document: this.#document });
  }

  #tellState(): void {
    const { state } = this;
    for (const member of this.#options.team.members) tell(member, { type: "state", state: mutable(state) });
  }
}

function tell(member: TeamMember, message: FromPrimary): void {
  member.send(channels.document, message);
}

const copyOf = ({ any, added, removed, changed }: DocumentChanges) => ({
  any,
  added: [...added],
  removed: [...removed],
  changed: [...changed],
});

const mutable = ({ workers, ...state }: TeamState) => ({
  ...state,
  workers: workers.map((each) => ({ ...each })),
});
