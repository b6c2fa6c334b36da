import type { StandardSchemaV1 } from "@standard-schema/spec";

declare const type: unique symbol;

/** The settings of one package or module: a section of the config, and a token for its validated value. */
export interface SettingsToken<T = unknown, Section extends string = string> {
  readonly kind: "settings";
  /** Key in the config file, and first word of the environment variables: `http` is `PLINTH_HTTP_…`. */
  readonly section: Section;
  readonly schema: SettingsSchema;
  /** Keys that may change while the app runs; `all` of them. */
  readonly reloadable: readonly string[] | "all";
  readonly [type]?: () => T;
}

/** A Standard Schema that can also tell its JSON Schema, as zod 4's can: keys, types and defaults are read from it. */
export type SettingsSchema<Output = unknown> = StandardSchemaV1<unknown, Output> & JsonSchemaSource;
interface JsonSchemaSource {
  readonly "~standard": {
    readonly jsonSchema?: { readonly input: (options: JsonSchemaOptions) => Record<string, unknown> } | undefined;
  };
}

interface JsonSchemaOptions {
  readonly target: "draft-2020-12";
  /** Read by the library that the schema is of. */
  readonly libraryOptions?: Record<string, unknown>;
}

type AnySettingsSchema<Output> = StandardSchemaV1<never, Output> | StandardSchemaV1<object | undefined, Output>;

export interface SettingsOptions<Output> {
  /**
   * Keys, of the first level, whose users take a new value while the app runs; `all` for every one. A reload that would
   * change another key is refused. Default: none.
   */
  readonly reloadable?: readonly (keyof Output & string)[] | "all";
}

/**
 * Declares a section of the config. Any provider may need the token; the value comes from the config without a provider.
 *
 * @param section - One lower-case word, used by one package only.
 * @param schema - An object schema whose every field has a default or may be absent, unless a value must be given.
 * @example
 * export const notesSettings = defineSettings("notes", z.strictObject({ maxLength: z.int().min(1).default(1_000) }));
 * @example
 * defineSettings("log", z.strictObject({ level: z.enum(levels).default("info") }), { reloadable: ["level"] });
 */
export function defineSettings<const Section extends string, Output>(
  section: Section,
  schema: AnySettingsSchema<Output> | SettingsSchema<Output>,
  { reloadable = [] }: SettingsOptions<NoInfer<Output>> = {},
): SettingsToken<Output, Section> {
  return Object.freeze<SettingsToken<Output, Section>>({
    kind: "settings",
    section,
    schema,
    reloadable: reloadable === "all" ? reloadable : Object.freeze([...reloadable]),
  });
}

/** Whether a key of a section, `levels` or a path that begins with it, may change while the app runs. */
export function isReloadable({ reloadable }: SettingsToken, key: string | undefined): boolean {
  return reloadable === "all" || (key !== undefined && reloadable.includes(key));
}
