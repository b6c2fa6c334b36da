import { z } from "zod";
import type { StageMaker } from "./stages.ts";

/** Settings of the layers `overload` and `limits` for requests as such. */
export const limitSettings = {
  maxConcurrentRequests: z.int().min(0).max(1_000_000).default(1_000).meta({
    description: "Requests are answered with 503 while so many are under way already; 0 never refuses one for that.",
  }),
  maxRequestsPerConnection: z.int().min(0).max(1_000_000_000).default(0).meta({
    description:
      "Requests that one connection of HTTP/1 may bring; the reply to the last closes it, so that callers spread over new instances. 0 for any number.",
  }),
};

/** The layer `limits` for connections: the last request that one may bring is answered like any other, and ends it. */
export const limitsStage: StageMaker = ({ settings: { maxRequestsPerConnection: most } }) => {
  if (most === 0) return undefined;
  const served = new WeakMap<object, number>();
  return ({ request, response }) => {
    if (request.httpVersionMajor !== 1) return undefined;
    const count = (served.get(request.socket) ?? 0) + 1;
    served.set(request.socket, count);
    if (count >= most) response.shouldKeepAlive = false;
    return undefined;
  };
};
