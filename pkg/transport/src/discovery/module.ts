import { appInfo, clock, defineModule, logger, metrics, provider, token } from "@plinth/kernel";
import { registry } from "@plinth/registry";
import { createServiceDispatcher, type ServiceDispatcher } from "./dispatcher.ts";
import { type PlinthResolver, registerPlinthResolver } from "./resolver.ts";

/** For `fetch` and undici: `http://notes/things` leads to the instances of `notes` that the app's registry tells. */
export const serviceDispatcher = token("discovery.dispatcher").of<ServiceDispatcher>();

/** For channels of grpc-js that are not made by `createGrpcChannel`: their targets, in the app's registry. */
export const grpcTargets = token("discovery.targets").of<PlinthResolver>();

const provideServiceDispatcher = provider({
  provides: serviceDispatcher,
  needs: { registry, clock, log: logger, metrics },
  create: ({ log, ...options }) => createServiceDispatcher({ ...options, log: log.named("discovery") }),
  // stopped after whatever needs it, and after the drain of the servers: calls that requests make still go out
  stop: (dispatcher, { signal }) => dispatcher.close({ signal }),
});

const provideGrpcTargets = provider({
  provides: grpcTargets,
  needs: { registry, clock, info: appInfo },
  create: ({ info, ...source }) => registerPlinthResolver({ ...source, names: [info.instanceId, info.name] }),
  stop: (targets) => targets.close(),
});

/** Ways to other services by name, over the app's registry. What nobody needs of it is not made. */
export const discoveryModule = defineModule("discovery", [provideServiceDispatcher, provideGrpcTargets]);
