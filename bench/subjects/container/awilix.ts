// awilix, with its proxy: singletons and scoped registrations with disposers. It has no start, so a factory starts what it makes.
import { type AwilixContainer, asFunction, createContainer } from "awilix";
import { ends, Part, parts, type PartSpec, reportContainer, requestEnd, requestParts } from "./graph.ts";

type Cradle = Record<string, Part>;

function register(
  container: AwilixContainer<Cradle>,
  { name, needs }: PartSpec,
  lifetime: "SINGLETON" | "SCOPED",
): void {
  const make = (cradle: Cradle): Part => {
    const part = new Part(needs.map((need) => partOf(cradle, need)));
    part.start();
    return part;
  };
  container.register(name, asFunction(make, { lifetime, dispose: (part) => part.stop() }));
}

function partOf(cradle: Cradle, name: string): Part {
  const part = cradle[name];
  if (part === undefined) throw new Error(`there is no ${name}`);
  return part;
}

await reportContainer(() => {
  const container = createContainer<Cradle>({ strict: true });
  for (const spec of parts) register(container, spec, "SINGLETON");
  for (const spec of requestParts) register(container, spec, "SCOPED");
  for (const name of ends) container.resolve(name);
  return {
    request: async () => {
      const scope = container.createScope();
      scope.resolve(requestEnd);
      await scope.dispose();
    },
    stop: () => container.dispose(),
  };
});
