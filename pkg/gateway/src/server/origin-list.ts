/** Origins of pages, as the document lists them: each by its name, all below a name, or every one. */
export class OriginList {
  readonly isOpen: boolean;
  readonly #origins: ReadonlySet<string>;
  /** Scheme and what must follow a name below it. */
  readonly #below: readonly (readonly [scheme: string, rest: string])[];

  constructor(origins: readonly string[]) {
    this.isOpen = origins.includes("*");
    this.#origins = new Set(origins.filter((one) => !one.includes("*")));
    this.#below = origins
      .filter((origin) => origin.includes("//*."))
      .map((origin) => {
        const [scheme = "", rest = ""] = origin.split("*");
        return [scheme, rest];
      });
  }

  /** @param origin - As a browser writes it, `null` included. */
  has(origin: string): boolean {
    if (this.isOpen || this.#origins.has(origin)) return true;
    return this.#below.some(
      ([scheme, rest]) =>
        origin.length > scheme.length + rest.length &&
        origin.startsWith(scheme) &&
        origin.endsWith(rest) &&
        /^[a-z0-9.-]+$/.test(origin.slice(scheme.length, -rest.length)),
    );
  }
}
