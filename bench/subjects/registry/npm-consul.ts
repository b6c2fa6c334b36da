// The client `consul` of npm: its watch, of which the last answer is kept in a variable.
import Consul from "consul";
import { z } from "zod";
import { measureWatch } from "./measure.ts";

const answer = z.array(z.object({ Service: z.object({ Tags: z.array(z.string()) }) }));
const none: readonly string[] = [];

await measureWatch(({ host, port, service, waitMs }) => {
  const consul = new Consul({ host, port });
  const watch = consul.watch({
    // oxlint-disable-next-line typescript/unbound-method -- as it is documented: the watch binds it
    method: consul.health.service,
    options: { service, passing: "true", ...(waitMs === undefined ? {} : { wait: `${waitMs}ms` }) },
  });
  let known: z.output<typeof answer> = [];
  watch.on("change", (data: unknown) => void (known = answer.parse(data)));
  watch.on("error", () => {}); // it tries again by itself; without a listener it would end the process
  return {
    read: () => known[0]?.Service.Tags ?? none,
    close: async () => watch.end(),
  };
});
