// The least that a balancer can do: any of them, and nothing to remember.
import { measureBalancer, members } from "./measure.ts";

await measureBalancer({
  pick: () => members[Math.floor(Math.random() * members.length)],
  release: () => {},
});
