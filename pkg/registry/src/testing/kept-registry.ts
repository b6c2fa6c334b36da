import { type ConsulRegistryOptions, createConsulRegistry } from "../consul/consul-registry.ts";
import type { RegistrationState, Registry, RegistryEvent } from "../registry.ts";
import { type Script, ScriptedAgent, type ScriptedAnswer, type ScriptedRequest } from "./scripted-agent.ts";

/** What is registered in a {@link kept} registry. */
export const instance = { service: "notes", id: "notes-1", host: "10.1.2.3", ports: { http: 3_000, grpc: 3_001 } };

export const isRegister = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/service/register";
export const isDeregister = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/service/deregister/notes-1";
export const isAlive = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/check/update/notes-1:alive";
export const isReadyCheck = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/check/update/notes-1:ready";
export const isInspect = ({ method, path }: ScriptedRequest): boolean =>
  method === "GET" && path === "/v1/agent/service/notes-1";
export const isMaintenance = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/service/maintenance/notes-1";

/** A registry on a scripted agent, with short times. */
export interface Kept extends AsyncDisposable {
  readonly agent: ScriptedAgent;
  readonly own: Registry;
  readonly events: RegistryEvent[];
  /** The registration's states so far. */
  states(): RegistrationState[];
  /** Resolves when the registration has come into `state`, the `count`th time. */
  became(state: RegistrationState, count?: number): Promise<void>;
}

export async function kept(script: Script, options: ConsulRegistryOptions = {}): Promise<Kept> {
  const agent = await ScriptedAgent.start(script);
  const events: RegistryEvent[] = [];
  let told = Promise.withResolvers<void>();
  const own = createConsulRegistry({
    address: agent.address,
    ttlMs: 150,
    requestTimeoutMs: 300,
    onEvent: (event) => {
      events.push(event);
      told.resolve();
      told = Promise.withResolvers();
    },
    ...options,
  });
  const states = (): RegistrationState[] =>
    events.flatMap((event) => (event.type === "registration" ? [event.state] : []));
  return {
    agent,
    own,
    events,
    states,
    async became(state, count = 1) {
      while (states().filter((each) => each === state).length < count) await told.promise;
    },
    async [Symbol.asyncDispose]() {
      await own.close();
      await agent[Symbol.asyncDispose]();
    },
  };
}

export const fine: Script = () => ({});

/** Answers the first `count` requests that `isRight` accepts with `answer`, and is fine with all others. */
export function failing(
  isRight: (request: ScriptedRequest) => boolean,
  answer: ScriptedAnswer,
  count = Infinity,
): Script {
  let left = count;
  return (request) => (isRight(request) && left-- > 0 ? answer : {});
}
