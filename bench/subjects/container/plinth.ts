// Plinth: a provider with hooks for each thing, and a request scope. Declared anew for each app, as the others are.
import { createApp, defineModule, provider, type RequestToken, type Token, token } from "@plinth/kernel";
import { Part, parts, reportContainer, requestParts, required } from "./graph.ts";

/** What a provider was given, in the order of its needs. */
const make = (needs: object): Part => new Part(Object.values(needs));

function declare() {
  const tokens = new Map<string, Token<Part> | RequestToken<Part>>();
  const requested: RequestToken<Part>[] = [];
  const needsOf = (names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, required(tokens, name)] as const));
  const fixed = parts.map(({ name, needs }) => {
    const provides = token(name).of<Part>();
    tokens.set(name, provides);
    return provider({
      provides,
      needs: needsOf(needs),
      create: make,
      start: (part) => part.start(),
      stop: (part) => part.stop(),
    });
  });
  const scoped = requestParts.map(({ name, needs }) => {
    const provides = token(name).perRequest<Part>();
    tokens.set(name, provides);
    requested.push(provides);
    const create = (given: object): Part => {
      const part = make(given);
      part.start();
      return part;
    };
    return provider({ provides, needs: needsOf(needs), create, stop: (part) => part.stop() });
  });
  const [end] = requested.slice(-1);
  if (end === undefined) throw new Error("a request has no things");
  return { module: defineModule("parts", [...fixed, ...scoped]), end };
}

await reportContainer(async () => {
  const { module, end } = declare();
  const app = createApp({
    name: "bench",
    modules: [module],
    expose: [end],
    config: { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } },
    logDestination: { write: () => {} },
  });
  await app.start();
  return {
    request: async () => {
      const scope = app.openScope();
      await scope.get(end);
      await scope.close();
    },
    stop: () => app.stop(),
  };
});
