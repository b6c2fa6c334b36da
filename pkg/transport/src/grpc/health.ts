import type { Clock, Health } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { type RpcService, rpcService } from "../rpc/service.ts";

export interface HealthServiceOptions {
  readonly health: Health;
  readonly services: readonly RpcService[];
  readonly clock: Clock;
}

/** How often a watch looks at the readiness checks, which tell nobody when they change. In milliseconds. */
const lookMs = 5_000;

/**
 * The gRPC health protocol over the app's readiness. It knows the server ("") and each service by name.
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export function healthService({ health, services, clock }: HealthServiceOptions): RpcService {
  const known = new Set(["", ...services.map(({ descriptor }) => descriptor.typeName)]);
  const status = async (service: string): Promise<Serving> => {
    if (!known.has(service)) return Serving.SERVICE_UNKNOWN;
    return (await health.readiness()).ready ? Serving.SERVING : Serving.NOT_SERVING;
  };
  return rpcService(HealthService, {
    async check({ service }) {
      if (!known.has(service))
        throw new TransportError("ERR_RPC_UNIMPLEMENTED", "not_found", "this server has no service of that name");
      return { status: await status(service) };
    },
    /** Ends, after the last status, when the app begins to stop: the stream must not outlive the server. */
    async *watch({ service }, { signal }) {
      let change = Promise.withResolvers<void>();
      const wake = (): void => change.resolve();
      const unsubscribe = health.onState(wake);
      signal.addEventListener("abort", wake, { once: true });
      try {
        for (let last: Serving | undefined; !signal.aborted;) {
          change = Promise.withResolvers<void>(); // before looking, so that no change falls between
          const now = await status(service);
          if (now !== last) yield { status: (last = now) };
          if (health.state === "draining" || health.state === "stopped") return;
          const timer = clock.schedule(lookMs, wake, { keepAlive: false });
          await change.promise;
          timer.cancel();
        }
      } finally {
        unsubscribe();
        signal.removeEventListener("abort", wake);
      }
    },
  });
}
