import { AppError, type Health } from "@plinth/kernel";
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { type RpcService, rpcService } from "../rpc/service.ts";

/**
 * The gRPC health protocol over the app's readiness. It knows the server ("") and each service by name.
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export function healthService(health: Health, services: readonly RpcService[]): RpcService {
  const known = new Set(["", ...services.map(({ descriptor }) => descriptor.typeName)]);
  const status = async (service: string): Promise<Serving> => {
    if (!known.has(service)) return Serving.SERVICE_UNKNOWN;
    return (await health.readiness()).ready ? Serving.SERVING : Serving.NOT_SERVING;
  };
  return rpcService(HealthService, {
    async check({ service }) {
      if (!known.has(service))
        throw new AppError("ERR_RPC_UNIMPLEMENTED", "not_found", `this server has no service named "${service}"`);
      return { status: await status(service) };
    },
    async *watch({ service }, { signal }) {
      const changes = stateChanges(health, signal);
      yield { status: await status(service) };
      for await (const state of changes) {
        yield { status: await status(service) };
        if (state === "draining" || state === "stopped") return; // the stream ends cleanly before the server does
      }
    },
  });
}

/** Each change of the app's state, until `signal` aborts. */
async function* stateChanges(health: Health, signal: AbortSignal): AsyncGenerator<string> {
  const queue: string[] = [];
  let wake = Promise.withResolvers<void>();
  const unsubscribe = health.onState((state) => {
    queue.push(state);
    wake.resolve();
  });
  const onAbort = (): void => wake.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    while (!signal.aborted) {
      const next = queue.shift();
      if (next !== undefined) yield next;
      else {
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
    }
  } finally {
    unsubscribe();
    signal.removeEventListener("abort", onAbort);
  }
}
