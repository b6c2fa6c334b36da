import { requireWhole } from "@plinth/kernel";
import { hash32, mix32, pairHash } from "./hash.ts";

/** Which part of a large fleet one client talks to. */
export interface SubsetOptions {
  /** Members to talk to, 1 or more; all when there are no more. */
  readonly size: number;
  /**
   * Who asks.
   * - A name, unique for each client: each draws for itself, which needs no agreement. A change of the fleet changes at most one
   *   member of a subset; how many clients a member gets scatters about the mean as by chance.
   * - A position among the clients, counted from 0, without gaps: members are dealt out in rounds, each at most once in a round, so
   *   that where `size` divides their number each gets as many clients as any other, or one less. Those left over in a round differ
   *   from round to round. When the number of subsets to a round changes, everything is dealt anew.
   */
  readonly client: string | number;
}

/**
 * The part of a fleet that one client talks to, so that a thousand clients of a thousand instances do not hold a million connections.
 * The same for the same members, in whatever order they come, and the same client.
 *
 * @returns In the order of the members as given.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `size` is no whole number from 1, or a position none from 0.
 * @see Site Reliability Engineering, deterministic subsetting: https://sre.google/sre-book/load-balancing-datacenter/
 * @see Rendezvous hashing: https://doi.org/10.1109/90.663936
 * @example balancer.replace(subset(instances, { size: 20, client: ownInstanceId }));
 */
export function subset<T extends { readonly id: string }>(members: readonly T[], options: SubsetOptions): readonly T[] {
  const { size, client } = options;
  requireWhole("size", size, { min: 1 });
  if (typeof client === "number") requireWhole("client", client, { min: 0 });
  if (members.length <= size) return members;
  const subsets = Math.floor(members.length / size);
  const round = typeof client === "number" ? Math.floor(client / subsets) : 0;
  const begin = typeof client === "number" ? (client % subsets) * size : 0;
  const seed = typeof client === "number" ? mix32(round) : hash32(client);
  const ranked = members
    .map((member) => ({ member, rank: pairHash(seed, hash32(member.id)) }))
    .toSorted((a, b) => a.rank - b.rank || (a.member.id < b.member.id ? -1 : 1));
  const chosen = new Set(ranked.slice(begin, begin + size).map(({ member }) => member));
  return members.filter((member) => chosen.has(member));
}
