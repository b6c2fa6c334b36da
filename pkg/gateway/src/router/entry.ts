import type { Conditions } from "./conditions.ts";
import type { Binding } from "../transcoding/binding.ts";
import type { Pattern } from "./pattern.ts";
import type { PathTemplate } from "./rewrite.ts";

/** Which requests one pattern of a route is for. */
export interface Matcher {
  readonly pattern: Pattern;
  /** Undefined: every method but TRACE and CONNECT. */
  readonly methods: readonly string[] | undefined;
  /** Lower case, without port; `*.` before it for all hosts below it. Undefined: any host that has no match of its own. */
  readonly host: string | undefined;
  /** A higher one wins over anything else that matches. Default 0. */
  readonly priority?: number | undefined;
  readonly conditions?: Conditions | undefined;
  /** How the path for the service is made; undefined where it stays or only its prefix is replaced. */
  readonly rewrite?: PathTemplate | undefined;
  /** How requests become calls of gRPC; undefined where they go as they are. */
  readonly binding?: Binding | undefined;
}

export interface RouteEntry<T> extends Matcher {
  readonly route: T;
}

/** A route that was found, with the pattern that matched. */
export interface Found<T> {
  readonly route: T;
  readonly template: string;
  /** Segments before the `/**` of a prefix pattern; -1 for others. */
  readonly prefixSegments: number;
  readonly rewrite?: PathTemplate | undefined;
  readonly binding?: Binding | undefined;
  /** The path to redirect to: with `trailingSlash: redirect`, when a slash at its end is one too many or too few. */
  readonly redirect?: string | undefined;
}
