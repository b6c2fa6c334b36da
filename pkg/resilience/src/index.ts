export {
  type Balancer,
  type BalancerOptions,
  createBalancer,
  type Member,
  type Outcome,
  type Seat,
} from "./balancer.ts";
export type { Breaker, BreakerOptions, Circuit, CircuitState } from "./breaker/breaker.ts";
export type { CapVerdict, ConcurrencyCap, ConcurrencyCapOptions } from "./cap/concurrency-cap.ts";
export type { EjectReason, OutlierDetector, OutlierOptions, Suspect } from "./outliers/detector.ts";
export type { SubsetOptions } from "./balancing/subset.ts";
export type { RetryBudget, RetryBudgetOptions } from "./retry/budget.ts";
export type { Hedging, HedgingOptions } from "./retry/hedging.ts";
export type { FailedAttempt, NoRetryReason, Retries, RetryOptions, RetryVerdict } from "./retry/retries.ts";
export { createRateLimiter, type RateLimiter, type RateLimiterOptions, type RateVerdict } from "./rate-limiter.ts";
