export {
  type Balancer,
  type BalancerOptions,
  createBalancer,
  type Member,
  type Outcome,
  type Seat,
} from "./balancer.ts";
export { createRateLimiter, type RateLimiter, type RateLimiterOptions, type RateVerdict } from "./rate-limiter.ts";
