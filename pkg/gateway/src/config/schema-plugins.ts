import { didYouMean } from "@plinth/kernel";
import { z } from "zod";
import type { GatewayPlugin } from "../plugins/define.ts";

/** Configurations by the plugin's name. What may stand in one is the plugin's to say. */
const configs = z.record(z.string(), z.union([z.boolean(), z.record(z.string(), z.unknown())])).optional();

export const documentPlugins = configs.meta({
  description:
    "Plugins of the program that holds the gateway, for all routes, each by its name with its configuration; `true` is `{}`.",
});

export const routePlugins = configs.meta({
  description:
    "The same for this route, in place of what the document says of a plugin; `false`: without it. Not for plugins of the stage `edge`.",
});

/** Those that a document may name; `unchecked` where the program does not know. */
export type KnownPlugins = readonly GatewayPlugin[] | "unchecked";

/**
 * Says what is wrong with the plugins of a document or a route, each with its place below `plugins`.
 * @param place - Which of the two.
 */
export function pluginProblems(
  given: unknown,
  place: "document" | "route",
  known: KnownPlugins,
  onProblem: (path: readonly PropertyKey[], problem: string) => void,
): void {
  if (known === "unchecked" || typeof given !== "object" || given === null) return;
  for (const [name, config] of Object.entries(given)) {
    const plugin = known.find((each) => each.name === name);
    if (!plugin) {
      const names = known.map((each) => each.name);
      const hint = names.length === 0 ? "; this gateway has none: a program gives them in code" : "";
      onProblem([name], `unknown plugin${didYouMean(name, names)}${hint}`);
    } else if (config === false) {
      if (place === "document") onProblem([name], "is off where it is not named; leave it out");
    } else if (place === "route" && plugin.stage === "edge") {
      onProblem([name], "is asked before a route is looked for: it belongs into the document's `plugins`");
    } else {
      for (const { path, problem } of plugin.faultsOf(config)) onProblem([name, ...path], problem);
    }
  }
}

/** Plugins that a document names anywhere, with the place of the first time. */
export function namedPlugins(document: {
  readonly plugins?: object | undefined;
  readonly routes: readonly { readonly plugins?: object | undefined }[];
}): Map<string, readonly PropertyKey[]> {
  const named = new Map<string, readonly PropertyKey[]>();
  const note = (plugins: object | undefined, at: readonly PropertyKey[]): void => {
    for (const name of Object.keys(plugins ?? {})) if (!named.has(name)) named.set(name, [...at, "plugins", name]);
  };
  note(document.plugins, []);
  for (const [index, { plugins }] of document.routes.entries()) note(plugins, ["routes", index]);
  return named;
}
