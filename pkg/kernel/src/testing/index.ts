export { FakeClock } from "./fake-clock.ts";
export { MemoryLog } from "./memory-log.ts";
export { testApp } from "./test-app.ts";
