export { checkGrpcHealth, type CheckGrpcHealthOptions, type GrpcHealth } from "./check-health.ts";
export { discoveryModule, grpcTargets, serviceDispatcher } from "./module.ts";
export {
  createServiceDispatcher,
  type ServiceAlias,
  type ServiceDispatcher,
  type ServiceDispatcherOptions,
} from "./dispatcher.ts";
export { type PlinthResolver, type PlinthResolverOptions, registerPlinthResolver } from "./resolver.ts";
