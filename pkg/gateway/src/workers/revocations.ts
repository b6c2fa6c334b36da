import type { Clock, PrimaryLink, WorkersTeam } from "@plinth/kernel";
import { type Revocation, Revocations } from "@plinth/transport/jwt";
import { z } from "zod";
import { channels } from "./team.ts";

const text = z.string().min(1).max(1_024).optional();
const time = z.number().min(0).optional();
const revocation = z.strictObject({ jti: text, subject: text, issuer: text, issuedBeforeMs: time, untilMs: time });
const change = z.strictObject({ op: z.enum(["add", "remove"]), revocation });
const told = z.array(change).max(1_000_000);

/** Revocations that all workers hold: what is added by the code of one is with the others as soon as the primary has told them. */
export class TeamRevocations extends Revocations {
  readonly #link: PrimaryLink;
  readonly endListening: () => void;

  constructor(link: PrimaryLink, clock: Clock) {
    super({ clock });
    this.#link = link;
    this.onChange((each) => link.send(channels.revocations, [each]));
    this.endListening = link.listen(channels.revocations, { onMessage: (data) => this.#receive(data) });
  }

  /** Asks for those that there are already. */
  ask(): void {
    this.#link.send(channels.revocations, []);
  }

  #receive(data: unknown): void {
    for (const each of told.safeParse(data).data ?? []) this.apply(each);
  }
}

/** Keeps what workers revoke, tells the others, and those that start later, in the primary. Returns how to end it. */
export function shareRevocations(team: WorkersTeam, clock: Clock): () => void {
  const held = new Map<string, Revocation>();
  return team.listen(channels.revocations, {
    onMessage: (member, data) => {
      const changes = told.safeParse(data).data;
      if (!changes) return;
      if (changes.length === 0) {
        const now = clock.now();
        const living = [...held.values()].filter(({ untilMs = Infinity }) => untilMs > now);
        if (living.length === 0) return;
        const all = living.map((each) => ({ op: "add", revocation: each }));
        member.send(channels.revocations, all);
        return;
      }
      for (const { op, revocation: given } of changes) {
        const { jti, subject, issuer, issuedBeforeMs } = given;
        const key = JSON.stringify([jti, subject, issuer, issuedBeforeMs]);
        if (op === "remove") held.delete(key);
        else held.set(key, given);
      }
      if (held.size > maxHeld) forgetOver(held, clock.now());
      for (const other of team.members) if (other !== member) other.send(channels.revocations, changes);
    },
  });
}

/** Beyond so many those whose time is over are cleared away; each worker takes no more than that of its own. */
const maxHeld = 100_000;

function forgetOver(held: Map<string, Revocation>, nowMs: number): void {
  for (const [key, { untilMs = Infinity }] of held) if (untilMs <= nowMs) held.delete(key);
}
