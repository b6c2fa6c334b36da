// Plinth: everything on; each policy is a program of its own.
import { type BalancingPolicy, createBalancer } from "@plinth/resilience";
import { type BenchMember, measureBalancer, members } from "./measure.ts";

/** Runs it with one policy. */
export async function measurePolicy(policy: BalancingPolicy): Promise<void> {
  const balancer = createBalancer<BenchMember>({ policy });
  balancer.replace(members);
  const wishes = Array.from({ length: 256 }, (_, at) => ({ key: `user-${at}` }));
  const isKeyed = policy === "consistent-hash";
  await measureBalancer({
    pick: (call) => balancer.pick(isKeyed ? wishes[call % wishes.length] : undefined),
    release: (seat) => {
      if (seat) balancer.release(seat, "success", 1 + (seat.inFlight % 7));
    },
  });
}
