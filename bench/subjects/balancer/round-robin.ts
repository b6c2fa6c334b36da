// In turn, with a count of what is in flight at each.
import { measureBalancer, members } from "./measure.ts";

const seats = members.map((member) => ({ member, inFlight: 0 }));
let turn = 0;

await measureBalancer({
  pick: () => {
    const seat = seats[turn++ % seats.length];
    if (seat) seat.inFlight++;
    return seat;
  },
  release: (seat) => {
    if (seat) seat.inFlight--;
  },
});
