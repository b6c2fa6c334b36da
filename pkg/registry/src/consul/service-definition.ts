import type { ConsulStatus } from "./answers.ts";

/** What `PUT /v1/agent/service/register` takes; durations are text such as `15000ms`. */
export interface ServiceDefinition {
  readonly ID: string;
  readonly Name: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags: readonly string[];
  readonly Meta: Readonly<Record<string, string>>;
  readonly Weights: { readonly Passing: number; readonly Warning: number };
  readonly Checks: readonly CheckDefinition[];
}

export interface CheckDefinition {
  readonly CheckID: string;
  readonly Name: string;
  readonly Status: ConsulStatus;
  readonly TTL?: string;
  readonly HTTP?: string;
  readonly Method?: string;
  /** Sent with an HTTP check; each name may have several values. */
  readonly Header?: Readonly<Record<string, readonly string[]>>;
  readonly TCP?: string;
  /** `host:port/name` of a service in the sense of `grpc.health.v1`. */
  readonly GRPC?: string;
  readonly GRPCUseTLS?: boolean;
  /** The agent takes any certificate. */
  readonly TLSSkipVerify?: boolean;
  readonly Interval?: string;
  readonly Timeout?: string;
  readonly DeregisterCriticalServiceAfter?: string;
}
