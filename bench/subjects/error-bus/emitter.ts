// The floor: an event emitter with one listener, which counts.
import { EventEmitter } from "node:events";
import { reportErrors } from "./report.ts";

const emitter = new EventEmitter<{ fault: [Error] }>();
let taken = 0;
emitter.on("fault", () => (taken += 1));
let reported = 0;

await reportErrors({
  report: (error) => {
    reported += 1;
    emitter.emit("fault", error);
  },
  drain: async () => {},
  lost: () => reported - taken,
});
