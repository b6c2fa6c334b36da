export { createBalancer } from "./balancing/balancer.ts";
export type { Balancer, BalancerOptions, BalancingPolicy, Member, PickWish, Seat } from "./balancing/types.ts";
export { subset, type SubsetOptions } from "./balancing/subset.ts";
export {
  type Breaker,
  type BreakerOptions,
  type Circuit,
  type CircuitState,
  createBreaker,
} from "./breaker/breaker.ts";
export {
  type CapVerdict,
  type ConcurrencyCap,
  type ConcurrencyCapOptions,
  createConcurrencyCap,
} from "./cap/concurrency-cap.ts";
export { createOutlierDetector } from "./outliers/detector.ts";
export type { EjectReason, OutlierDetector, OutlierOptions, Outcome, Suspect } from "./outliers/types.ts";
export { createRateLimiter, type RateLimiter, type RateLimiterOptions, type RateVerdict } from "./rate-limiter.ts";
export { createRetryBudget, type RetryBudget, type RetryBudgetOptions } from "./retry/budget.ts";
export { createHedging, type Hedging, type HedgingOptions } from "./retry/hedging.ts";
export {
  attemptTimeoutMs,
  createRetries,
  type FailedAttempt,
  isRetryable,
  type NoRetryReason,
  type Retries,
  type RetryDelayOptions,
  retryDelayMs,
  type RetryOptions,
  type RetryVerdict,
} from "./retry/retries.ts";
export { parseRetryAfterMs } from "./retry/retry-after.ts";
export { openRedisRateStore, openRedisTexts } from "./shared/open-store.ts";
export type { RedisRateStoreOptions } from "./redis/store.ts";
export type { RedisTextsOptions } from "./redis/texts.ts";
export type { SharedText, SharedTexts, TextChange, TextChanges } from "./shared/texts.ts";
export { createMemoryRateStore, type MemoryRateStoreOptions } from "./shared/memory-store.ts";
export { createSharedRateLimiter, type SharedRateLimiterOptions } from "./shared/shared-limiter.ts";
export { StoreGate, type StoreGateOptions } from "./shared/store-gate.ts";
export type { OnStoreFailure, RateAsk, RateStore, SharedRateLimiter, SharedRateVerdict } from "./shared/types.ts";
export { redisSettings } from "./shared/settings.ts";
