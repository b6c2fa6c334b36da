import type { PrimaryLink, PrimaryLinkListener, TeamListener, TeamMember, WorkersTeam } from "@plinth/kernel";

type Channels<Listener> = Map<string, Set<Listener>>;

function listen<Listener>(channels: Channels<Listener>, channel: string, listener: Listener): () => void {
  const those = channels.get(channel) ?? new Set();
  channels.set(channel, those.add(listener));
  return () => void those.delete(listener);
}

/** As JSON, as between processes. */
const copied = (data: unknown): unknown => JSON.parse(JSON.stringify(data));

/** Workers and primary of one process: what is sent arrives a moment later, in order, as it would between processes. */
export class FakeTeam implements WorkersTeam {
  readonly count: number;
  readonly workers: FakeWorker[] = [];
  readonly listeners: Channels<TeamListener> = new Map();
  /** The primary stands still: what is sent to it waits. */
  #isHanging = false;
  #held: (() => void)[] = [];

  constructor(count: number) {
    this.count = count;
    for (let each = 1; each <= count; each++) this.start(each);
  }

  get members(): readonly FakeWorker[] {
    return this.workers;
  }

  listen(channel: string, listener: TeamListener): () => void {
    return listen(this.listeners, channel, listener);
  }

  addMetrics(): void {}

  start(worker: number): FakeWorker {
    const made = new FakeWorker(this, worker);
    this.workers.push(made);
    return made;
  }

  /** As a process that was killed. */
  kill(worker: FakeWorker): void {
    this.workers.splice(this.workers.indexOf(worker), 1);
    worker.isOpen = false;
    for (const those of this.listeners.values()) for (const { onLeft } of those) onLeft?.(worker);
  }

  ready(worker: FakeWorker): void {
    worker.isReady = true;
    for (const those of this.listeners.values()) for (const { onReady } of those) onReady?.(worker);
  }

  hang(): void {
    this.#isHanging = true;
  }

  goOn(): void {
    this.#isHanging = false;
    for (const each of this.#held.splice(0)) each();
  }

  toPrimary(from: FakeWorker, channel: string, data: unknown): void {
    const deliver = (): void => {
      if (!this.workers.includes(from)) return;
      for (const { onMessage } of this.listeners.get(channel) ?? []) onMessage(from, copied(data));
    };
    queueMicrotask(() => (this.#isHanging ? this.#held.push(deliver) : deliver()));
  }
}

/** One worker: a member to the primary, and its own way there. */
export class FakeWorker implements TeamMember {
  readonly worker: number;
  readonly pid: number;
  isReady = false;
  isOpen = true;
  readonly link: PrimaryLink;
  readonly #listeners: Channels<PrimaryLinkListener> = new Map();
  /** What came is held back: as of one that stands still. */
  #held: (() => void)[] | undefined;

  constructor(team: FakeTeam, worker: number) {
    this.worker = worker;
    this.pid = 1_000 + worker;
    const isOpen = (): boolean => this.isOpen;
    this.link = {
      worker,
      get isOpen() {
        return isOpen();
      },
      send: (channel, data) => team.toPrimary(this, channel, data),
      listen: (channel, listener) => listen(this.#listeners, channel, listener),
    };
  }

  send(channel: string, data: unknown): void {
    const deliver = (): void => {
      if (!this.isOpen) return;
      for (const { onMessage } of this.#listeners.get(channel) ?? []) onMessage(copied(data));
    };
    queueMicrotask(() => (this.#held ? this.#held.push(deliver) : deliver()));
  }

  hang(): void {
    this.#held = [];
  }

  goOn(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const each of held) each();
  }

  /** As when the primary has died. */
  lose(): void {
    this.isOpen = false;
    for (const those of this.#listeners.values()) for (const { onGone } of those) onGone?.();
  }
}
