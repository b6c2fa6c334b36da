// The floor: constructors called in order, started, and stopped in reverse.
import { Part, parts, type PartSpec, reportContainer, requestParts, required } from "./graph.ts";

function buildAll(specs: readonly PartSpec[], into: Map<string, Part>): Part[] {
  return specs.map(({ name, needs }) => {
    const part = new Part(needs.map((need) => required(into, need)));
    part.start();
    into.set(name, part);
    return part;
  });
}

function stopAll(built: readonly Part[]): void {
  for (const part of built.toReversed()) part.stop();
}

await reportContainer(() => {
  const byName = new Map<string, Part>();
  const built = buildAll(parts, byName);
  return {
    request: () => stopAll(buildAll(requestParts, byName)),
    stop: () => stopAll(built),
  };
});
