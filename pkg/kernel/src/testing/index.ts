export { FakeClock } from "./fake-clock.ts";
export { freePort } from "./free-port.ts";
export { checkLeaks, type LeakCheck, type LeakCheckOptions } from "./leaks.ts";
export { MemoryLog } from "./memory-log.ts";
export { StallingClock } from "./stalling-clock.ts";
export { testApp } from "./test-app.ts";
export { until, type UntilOptions } from "./until.ts";
