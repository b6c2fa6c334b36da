import type { Provider } from "./provider.ts";
import { phraseOf, refuse, requireList } from "./untyped-options.ts";

/** A named list of providers: wiring only. Its type parameters are the names it provides and still needs. */
export interface Module<Provides extends string = string, Wants extends string = string> {
  readonly kind: "module";
  readonly name: string;
  readonly parts: readonly (Provider | Module)[];
  readonly "~graph"?: { readonly provides: Provides; readonly needs: Wants };
}

type Part = Provider | Module;

export type ProvidedBy<P> = P extends { readonly "~graph"?: { readonly provides: infer Names } }
  ? Names & string
  : never;
export type NeededBy<P> = P extends { readonly "~graph"?: { readonly needs: infer Names } } ? Names & string : never;
type PrivateIn<P> = P extends { readonly "~graph"?: { readonly hides: infer Names } } ? Names & string : never;

/**
 * Groups providers, and other modules, under a name. Private providers are seen by this module and the modules in it only.
 *
 * @throws {@link OptionError} `ERR_OPTION_TYPE` when the name is no text or the parts are no list.
 * @example export const notesModule = defineModule("notes", [provideNotes, notesRoutes]);
 */
export function defineModule<const Parts extends readonly Part[]>(
  name: string,
  parts: Parts,
): Module<
  ProvidedBy<Parts[number]>,
  Exclude<NeededBy<Parts[number]>, ProvidedBy<Parts[number]> | PrivateIn<Parts[number]>>
> {
  if (typeof name !== "string") refuse(`name of a module must be a text, not ${phraseOf(name)}`);
  requireList(`parts of module ${JSON.stringify(name)}`, parts, "modules and providers");
  return { kind: "module", name, parts: Object.freeze([...parts]) };
}
