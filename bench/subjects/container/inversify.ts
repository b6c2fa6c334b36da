// inversify: singletons with deactivation, and its request scope, which lives as long as one `get` and ends without a word: what
// was made in it is stopped by hand. It has no start, so a factory starts what it makes.
import { Container } from "inversify";
import { ends, Part, parts, type PartSpec, reportContainer, requestEnd, requestParts } from "./graph.ts";

function bind(container: Container, { name, needs }: PartSpec, made?: Part[]): void {
  const make = (...args: Part[]): Part => {
    const part = new Part(args);
    part.start();
    made?.push(part);
    return part;
  };
  const scope = container.bind<Part>(name).toResolvedValue(make, [...needs]);
  if (made) scope.inRequestScope();
  else scope.inSingletonScope().onDeactivation((part) => part.stop());
}

await reportContainer(() => {
  const container = new Container();
  const made: Part[] = [];
  for (const spec of parts) bind(container, spec);
  for (const spec of requestParts) bind(container, spec, made);
  for (const name of ends) container.get<Part>(name);
  return {
    request: () => {
      container.get<Part>(requestEnd);
      for (const part of made.splice(0).toReversed()) part.stop();
    },
    stop: () => container.unbindAll(),
  };
});
