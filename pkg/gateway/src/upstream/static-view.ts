import { createStaticRegistry, type RegistryView } from "@plinth/registry";
import { toStaticTarget } from "../config/schema-static.ts";

/** The view of instances that stand in the document: known from the beginning, and always the same. */
export function staticView(service: string, targets: readonly string[]): RegistryView {
  const instances = targets.flatMap((text) => {
    const target = toStaticTarget(text);
    return target ? [{ host: target.host, ports: { http: target.port } }] : []; // the document was checked
  });
  return createStaticRegistry({ services: { [service]: instances } }).follow(service);
}
