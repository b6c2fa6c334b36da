import type { AppState } from "./events.ts";
import type { HookName } from "./provider.ts";

/** What an app is made of and how far it has come, as plain data: for people, tools and tests. */
export interface AppDescription {
  readonly app: string;
  readonly state: AppState;
  /** Needs before users where there are no cycles. */
  readonly nodes: readonly NodeDescription[];
  /** Faults of the graph, as the start reports them; empty when it is whole. */
  readonly faults: readonly string[];
}

/**
 * `unused`: nothing needs it, so it is never built. `waiting`: for its turn, or for its needs.
 * `failed`: one of its hooks failed or overran; which one, its hooks say.
 */
export type NodeState =
  | "unused"
  | "waiting"
  | "creating"
  | "created"
  | "starting"
  | "started"
  | "stopping"
  | "stopped"
  | "failed";

export interface NodeDescription {
  /** Unique in the app: the token's name, with `#2`, `#3` … where several providers have the same. */
  readonly id: string;
  readonly token: string;
  /** `one` and `list`: lives as long as the app. `request`: one for each request. */
  readonly kind: "one" | "list" | "request";
  readonly module: string;
  /** File and line of the `provider` call. */
  readonly place: string;
  readonly isGround: boolean;
  /** Seen by the providers of its own module only. */
  readonly isPrivate: boolean;
  readonly needs: readonly NeedDescription[];
  readonly state: NodeState;
  /** Those that have run, in the order in which they ended. */
  readonly hooks: readonly HookDescription[];
}

export interface NeedDescription {
  readonly token: string;
  /** `settings` come from the config, and have no node. */
  readonly kind: "one" | "optional" | "list" | "request" | "settings";
  /** Ids of the nodes that provide it; none where it is missing, optional and absent, or settings. */
  readonly ids: readonly string[];
  /** Needed, and nothing provides it. */
  readonly isMissing: boolean;
}

export interface HookDescription {
  readonly hook: HookName | "create";
  readonly tookMs: number;
  /** The message of what it failed with; present when it did. */
  readonly error?: string;
}
