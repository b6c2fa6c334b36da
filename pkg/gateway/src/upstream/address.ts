import { authorityOf, type Instance } from "@plinth/registry";
import type { ServiceConfig } from "../config/schema-services.ts";

/** Where an instance is called; undefined when it does not speak what its service does. */
export function addressOf(instance: Instance, protocol: ServiceConfig["protocol"] | undefined): string | undefined {
  const grpc = protocol === "http2" ? authorityOf(instance, "grpc") : undefined;
  return grpc ?? authorityOf(instance, "http");
}
