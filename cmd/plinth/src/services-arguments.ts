import { type Given, UsageError } from "./usage.ts";

/** What is registered, and where that is asked. */
export interface ServicesQuestion {
  readonly kind: "services";
  /** Of this service alone. */
  readonly service: string | undefined;
  /** The agent. Undefined: as the environment says. */
  readonly consul: string | undefined;
  readonly isJson: boolean;
  /** How long it may take, in milliseconds. */
  readonly limitMs: number;
}

/** @throws {@link UsageError} */
export function toServicesQuestion(positionals: readonly string[], given: Given, limitMs: number): ServicesQuestion {
  const [service, ...more] = positionals;
  if (more.length > 0) throw new UsageError(`"${more[0]}" is one argument too many; plinth services takes one service`);
  const consul = given.get("consul");
  if (given.has("consul") && (consul === undefined || consul === ""))
    throw new UsageError("--consul takes the address of an agent, such as 127.0.0.1:8500");
  return { kind: "services", service, consul, isJson: given.has("json"), limitMs };
}
