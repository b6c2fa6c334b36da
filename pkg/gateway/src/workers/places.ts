import type { Clock, Scheduled, TeamMember, WorkersTeam } from "@plinth/kernel";
import { channels, partsOf } from "./team.ts";

/**
 * What a worker says of the places of a route, `[op, route, cap, wanted, places]`: `open`, there are so many in all; `want`, so many are
 * under way and wait; `back`, so many are given back; `close`, the cap is no more.
 */
export type PlacesMessage = readonly ["open" | "want" | "back" | "close", string, number, number, number];
/** What it is told, `[route, cap, more, target]`. */
export type LeaseMessage = readonly [string, number, number, number];

/** How often those take turns who cannot all have a place, in milliseconds. */
const turnMs = 50;
/** Of so many routes places are lent. */
const maxRoutes = 20_000;

interface Share {
  readonly cap: number;
  granted: number;
  wanted: number;
  target: number;
}

/**
 * The places of routes, in the primary, lent to workers: never more than there are. While they are scarce each worker has as many as it
 * wants up to an even share, and what one does not want is the others'; those for whom there is not one place each take turns.
 */
export class Places {
  readonly #team: WorkersTeam;
  readonly #clock: Clock;
  readonly #routes = new Map<string, Route>();
  readonly #endListening: () => void;

  constructor(team: WorkersTeam, clock: Clock) {
    this.#team = team;
    this.#clock = clock;
    this.#endListening = team.listen(channels.places, {
      onMessage: (member, data) => isMessage(data) && this.#receive(member, data),
      onLeft: (member) => {
        for (const route of this.#routes.values()) if (route.shares.delete(member)) this.#balance(route);
      },
    });
  }

  /** Places of a route that are lent now. */
  lent(name: string): number {
    return this.#routes.get(name)?.lent ?? 0;
  }

  close(): void {
    this.#endListening();
    for (const { turn } of this.#routes.values()) turn?.cancel();
  }

  #receive(member: TeamMember, [op, name, cap, wanted, places]: PlacesMessage): void {
    let route = this.#routes.get(name);
    if (op === "open" && !route && this.#routes.size < maxRoutes) this.#routes.set(name, (route = new Route(name)));
    if (!route) return;
    const known = route.shares.get(member);
    const share = known?.cap === cap ? known : undefined;
    if (op === "close") {
      if (share) route.shares.delete(member);
      if (route.shares.size === 0) {
        route.turn?.cancel();
        this.#routes.delete(name);
      } else this.#balance(route);
      return;
    }
    if (op === "open") {
      route.max = places;
      if (!share) route.shares.set(member, { cap, granted: 0, wanted, target: -1 });
      this.#balance(route);
      return;
    }
    if (!share) return;
    share.wanted = wanted;
    if (op === "back") share.granted = Math.max(0, share.granted - places);
    this.#balance(route, op === "want" ? member : undefined);
  }

  /** @param asked - Gets an answer in any case. */
  #balance(route: Route, asked?: TeamMember): void {
    const shares = [...route.shares];
    const targets = targetsOf(
      route.max,
      shares.map(([, { wanted }]) => wanted),
      Math.max(this.#team.count, shares.length),
      route.turns,
    );
    const gains = shares.map(([, share], index) => {
      const more = Math.min(route.max - route.lent, (targets[index] ?? 0) - share.granted);
      if (more <= 0) return 0;
      share.granted += more;
      return more;
    });
    const isShort = shares.some(([, { wanted, granted }]) => wanted > granted);
    for (const [index, [member, share]] of shares.entries()) {
      const target = targets[index] ?? 0;
      const gained = gains[index] ?? 0;
      const isAskedBack = share.granted > target && (isShort || route.lent > route.max) && share.target !== target;
      if (gained === 0 && !isAskedBack && member !== asked) continue;
      // Who is asked nothing back keeps what it has.
      share.target = isShort || route.lent > route.max ? target : Math.max(target, share.granted);
      const lease: LeaseMessage = [route.name, share.cap, gained, share.target];
      member.send(channels.places, lease);
    }
    const areTurnsNeeded = shares.some(([, { wanted }], index) => wanted > 0 && (targets[index] ?? 0) === 0);
    if (!areTurnsNeeded) return;
    route.turn ??= this.#clock.schedule(turnMs, () => {
      route.turn = undefined;
      route.turns++;
      this.#balance(route);
    });
  }
}

class Route {
  readonly name: string;
  max = 0;
  /** Whose turn it is where there are fewer places than those who want one. */
  turns = 0;
  turn: Scheduled | undefined;
  readonly shares = new Map<TeamMember, Share>();

  constructor(name: string) {
    this.name = name;
  }

  get lent(): number {
    return [...this.shares.values()].reduce((total, { granted }) => total + granted, 0);
  }
}

/**
 * How many places each is to have: what it wants, up to an even share of what the others leave; then of what nobody wants an even part.
 * @param workers - That there are to be: for those who are not there yet their part of what nobody wants is kept.
 * @param first - Who comes first where there is not one place for each.
 */
export function targetsOf(max: number, wanted: readonly number[], workers: number, first = 0): number[] {
  const targets = wanted.map(() => 0);
  const order = wanted.map((_, index) => (index + first) % wanted.length);
  let left = max;
  for (;;) {
    const short = order.filter((index) => (targets[index] ?? 0) < (wanted[index] ?? 0));
    if (left === 0 || short.length === 0) break;
    const each = Math.max(1, Math.floor(left / short.length));
    for (const index of short) {
      const more = Math.min(each, (wanted[index] ?? 0) - (targets[index] ?? 0), left);
      targets[index] = (targets[index] ?? 0) + more;
      left -= more;
    }
  }
  const spare = Math.floor(left / workers);
  return targets.map((target) => target + spare);
}

function isMessage(data: unknown): data is PlacesMessage {
  const [op, route, ...numbers] = partsOf(data, 5);
  const isOp = op === "open" || op === "want" || op === "back" || op === "close";
  return isOp && typeof route === "string" && numbers.every((each) => Number.isSafeInteger(each) && Number(each) >= 0);
}

export function isLease(data: unknown): data is LeaseMessage {
  const [route, ...numbers] = partsOf(data, 4);
  return typeof route === "string" && numbers.every(Number.isSafeInteger);
}
