/**
 * A server behind the gateway. It answers every request with 200 and `x-got: METHOD TARGET`, as it understood it, and takes down
 * what it has got.
 */
export interface Origin extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  /** `METHOD TARGET` of each request so far, and what it could not read, in its own words. */
  seen(): readonly string[];
}
