import type { StandardSchemaV1 } from "@standard-schema/spec";

declare const type: unique symbol;

/** The settings of one package or module: a section of the config, and a token for its validated value. */
export interface SettingsToken<T = unknown, Section extends string = string> {
  readonly kind: "settings";
  /** Key in the config file, and first word of the environment variables: `http` is `PLINTH_HTTP_…`. */
  readonly section: Section;
  readonly schema: SettingsSchema;
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

/**
 * Declares a section of the config. Any provider may need the token; the value comes from the config without a provider.
 *
 * @param section - One lower-case word, used by one package only.
 * @param schema - An object schema whose every field has a default or may be absent, unless a value must be given.
 * @example
 * export const notesSettings = defineSettings("notes", z.strictObject({ maxLength: z.int().min(1).default(1_000) }));
 */
export function defineSettings<const Section extends string, Output>(
  section: Section,
  schema: AnySettingsSchema<Output> | SettingsSchema<Output>,
): SettingsToken<Output, Section> {
  return Object.freeze<SettingsToken<Output, Section>>({
    kind: "settings",
    section,
    schema,
  });
}
