// Plinth's registry: the view of a service.
import { createConsulRegistry } from "@plinth/registry";
import { measureWatch } from "./measure.ts";

const none: readonly string[] = [];

await measureWatch(({ host, port, service, waitMs }) => {
  const registry = createConsulRegistry({ address: `${host}:${port}`, waitMs });
  const view = registry.follow(service);
  return {
    read: () => view.current?.instances[0]?.tags ?? none,
    close: () => registry.close(),
  };
});
