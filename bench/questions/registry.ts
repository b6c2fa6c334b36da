// Question: what does a lookup cost a request, what does a watch of a service send, and what does it miss after its agent was restarted?
//
// Peer:    the client `consul` of npm: `watch` over `health.service`, the last answer kept in a variable.
// Plinth:  `follow` of a registry on Consul.
// Shape:   one real agent in development mode, one instance. Reads of what is known, timed in batches, and the requests that they send.
//          Requests while nothing changes, for each time that the agent holds a query, a second here for both; requests for each change while
//          an instance changes 50 times a second. Then the agent is restarted without its data, and the instance changes 8 times, a second
//          apart: a change is missed when it, or a later one, is not known 2.5 s after it. Waits are each client's own default there.
// Targets: a read sends nothing, and is at most 50 reads of a variable: some hundred nanoseconds; no change is missed; under churn at most a fifth of the peer's requests, idle no more than its.
import { join } from "node:path";
import { inProcess } from "../harness/in-process.ts";
import { nodeProgram } from "../subjects/programs.ts";

export const registry = inProcess({
  name: "registry",
  sentence:
    "What does a lookup cost a request, what does a watch send, and what does it miss after its agent was restarted?",
  subject: "plinth",
  figures: [
    { key: "readNanos", title: "read ns", digits: 1, compared: "a read of what is known" },
    { key: "readRequests", title: "requests of reads", digits: 0 },
    { key: "idlePerWait", title: "idle, requests a wait", digits: 2, compared: "requests while idle" },
    { key: "churnPerChange", title: "churn, requests a change", digits: 3, compared: "requests under churn" },
    { key: "missed", title: "missed of 8", digits: 0, compared: "missed after a restart" },
  ],
  effort: { rounds: 3, seconds: 18 },
  shape: { instances: 1, changesPerSecond: 50, changesAfterRestart: 8, lateMs: 2_500 },
  describe: ({ rounds, seconds = 0 }) =>
    `One agent, one instance; medians of ${rounds} rounds of ${seconds} s and what the changes after the restart take.`,
  targets: [
    { row: "plinth", comparedTo: "consul (npm)", figure: "readNanos", atMost: 50 },
    { row: "plinth", figure: "readRequests", atMost: 0 },
    { row: "plinth", figure: "missed", atMost: 0 },
    { row: "plinth", comparedTo: "consul (npm)", figure: "idlePerWait", atMost: 1.1 },
    { row: "plinth", comparedTo: "consul (npm)", figure: "churnPerChange", atMost: 0.2 },
  ],
  rows: [
    { name: "consul (npm)", role: "peer", launch: nodeProgram(join("registry", "npm-consul.ts")) },
    { name: "plinth", role: "plinth", launch: nodeProgram(join("registry", "plinth.ts")) },
  ],
});
