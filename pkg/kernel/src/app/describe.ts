import { AppError, messageOf } from "../errors/app-error.ts";
import type { AppDescription, HookDescription, NeedDescription, NodeDescription, NodeState } from "./description.ts";
import type { AppEvent, AppState, EventLog, HookEvent } from "./events.ts";
import type { GraphAnalysis, Node, NodeNeed } from "./graph.ts";
import type { SettingsToken } from "../config/settings.ts";
import { wantedToken } from "./graph-faults.ts";
import { placeOf } from "./place.ts";

/** Puts together what a graph is and what has happened to it. */
export function describeApp(name: string, { graph, faults }: GraphAnalysis, events: EventLog): AppDescription {
  const histories = Map.groupBy(events.history.filter(isHook), ({ id }) => id);
  const used = new Set([...graph.nodes, ...graph.requestNodes]);
  return {
    app: name,
    state: events.state,
    faults,
    nodes: graph.all.map((node) => describeNode(node, histories.get(node.id) ?? [], used.has(node), events.state)),
  };
}

function describeNode(node: Node, history: readonly HookEvent[], isUsed: boolean, appState: AppState): NodeDescription {
  const { definition, id, module, ground } = node;
  return {
    id,
    token: definition.provides.name,
    kind: definition.provides.kind,
    module,
    place: placeOf(definition),
    isGround: ground,
    isPrivate: definition.private,
    needs: node.needs.map(describeNeed),
    state: isUsed ? stateOf(node, history, appState) : "unused",
    hooks: history.flatMap(describeHook),
  };
}

function describeNeed({ need, nodes }: NodeNeed): NeedDescription {
  const token = wantedToken(need);
  const ids = nodes.map(({ id }) => id);
  if (!token) return { token: sectionOf(need), kind: "settings", ids, isMissing: false };
  const kind = need.kind === "optional" ? "optional" : token.kind;
  return { token: token.name, kind, ids, isMissing: ids.length === 0 && (kind === "one" || kind === "request") };
}

function sectionOf(need: NodeNeed["need"]): string {
  const settings: SettingsToken | undefined =
    need.kind === "live" ? need.settings : need.kind === "settings" ? need : undefined;
  return settings?.section ?? "";
}

function describeHook(event: HookEvent): HookDescription[] {
  if (event.step === "begun") return [];
  const { hook, tookMs } = event;
  return [{ hook, tookMs, ...(event.step === "failed" ? { error: messageOf(event.error) } : {}) }];
}

/** What the events of one provider come to. */
function stateOf({ definition }: Node, history: readonly HookEvent[], appState: AppState): NodeState {
  if (history.some((event) => event.step === "failed" && !isCutShort(event))) return "failed";
  let state: NodeState = "waiting";
  for (const { hook, step } of history) {
    if (hook === "create") {
      state =
        step === "begun" ? "creating" : step === "failed" ? "stopped" : definition.hooks.start ? "created" : "started";
    } else if (hook === "start") state = step === "done" ? "started" : step === "begun" ? "starting" : "created";
    else if (hook === "stop") state = step === "begun" ? "stopping" : "stopped";
  }
  // what has no stop hook stops without an event
  const isOver = appState === "stopped" || appState === "failed";
  return isOver && state !== "waiting" && definition.provides.kind !== "request" ? "stopped" : state;
}

/** On the way up, because something else had failed. On the way down a hook that is cut short has left its work undone. */
function isCutShort({ hook, error }: { readonly hook: HookEvent["hook"]; readonly error: unknown }): boolean {
  const isOnTheWayUp = hook === "create" || hook === "start" || hook === "join";
  return isOnTheWayUp && AppError.is(error) && error.status === "cancelled";
}

function isHook(event: AppEvent): event is HookEvent {
  return event.type === "hook";
}
