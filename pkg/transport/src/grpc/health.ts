import type { AppHealth, Health } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import {
  Health as HealthService,
  HealthCheckResponse_ServingStatus as Serving,
} from "../gen/grpc/health/v1/health_pb.ts";
import { type RpcService, rpcService } from "../rpc/service.ts";

export interface HealthServiceOptions {
  readonly health: Health;
  readonly services: readonly RpcService[];
  /** This instance, which is known as `plinth.instance/<id>` besides: another is not, so that a check fails whose instance has gone. */
  readonly instanceId?: string | undefined;
}

/**
 * The gRPC health protocol over the app's readiness. It knows the server ("") and each service by name, and the instance by its id.
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export function healthService({ health, services, instanceId }: HealthServiceOptions): RpcService {
  const listed = ["", ...services.map(({ descriptor }) => descriptor.typeName)];
  const known = new Set(instanceId === undefined ? listed : [...listed, `plinth.instance/${instanceId}`]);
  return rpcService(HealthService, {
    async check({ service }) {
      if (!known.has(service))
        throw new TransportError("ERR_RPC_UNIMPLEMENTED", "not_found", "this server has no service of that name");
      const { state } = await health.readiness();
      return { status: toServing(state) };
    },
    async list() {
      const { state } = await health.readiness();
      const status = toServing(state);
      return { statuses: Object.fromEntries(listed.map((service) => [service, { status }])) };
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
          const { state } = health;
          const now = known.has(service) ? toServing(state) : Serving.SERVICE_UNKNOWN;
          if (now !== last) yield { status: (last = now) };
          if (state === "draining" || state === "stopped") return;
          await change.promise;
        }
      } finally {
        unsubscribe();
        signal.removeEventListener("abort", wake);
      }
    },
  });
}

function toServing(state: AppHealth): Serving {
  return state === "ready" || state === "degraded" ? Serving.SERVING : Serving.NOT_SERVING;
}
