// @sentry/node, with all that it does by default, or with no integration (BARE=1). Its transport makes the envelope and answers at once.
import { captureException, createTransport, flush, init } from "@sentry/node";
import { reportErrors } from "./report.ts";

let sent = 0;
let reported = 0;

init({
  dsn: "https://key@127.0.0.1/1",
  ...(process.env.BARE === "1" ? { defaultIntegrations: false } : {}),
  // as many may wait as in the other rows
  transportOptions: { bufferSize: 1_000 },
  sendClientReports: false,
  transport: (options) =>
    createTransport(options, async () => {
      sent += 1;
      return { statusCode: 200 };
    }),
});

await reportErrors({
  report: (error) => {
    reported += 1;
    captureException(error);
  },
  drain: async () => {
    if (!(await flush(60_000))) throw new Error("events are left after a minute");
  },
  lost: () => reported - sent,
});
