import {
  AppError,
  type Clock,
  clock,
  coreModule,
  createApp,
  defineModule,
  defineSettings,
  errorBus,
  healthChecks,
  type Metrics,
  metrics,
  provider,
  sleep,
  token,
  type ValueOf,
  z,
} from "@plinth/kernel";
import { webhookReporterModule } from "@plinth/reporters";
import { httpModule, httpRoutes } from "@plinth/transport";

const ratesSettings = defineSettings(
  "rates",
  z.strictObject({
    url: z.url().default("http://127.0.0.1:4000/rates.json").meta({ description: "Where they are fetched from." }),
    intervalMs: z.number().min(10).default(1_000).meta({ description: "From one fetch to the next, in ms." }),
    maxAgeMs: z.number().min(10).default(5_000).meta({ description: "The app is degraded with older ones, in ms." }),
  }),
);

type RatesSettings = ValueOf<typeof ratesSettings>;

const table = z.record(z.string(), z.number());

/** Exchange rates as the source had them last. */
class Rates {
  readonly #settings: RatesSettings;
  readonly #clock: Clock;
  readonly #fetches;
  #known: ReadonlyMap<string, number> = new Map();
  #fetchedAtMs = -Infinity;

  constructor(settings: RatesSettings, own: Metrics, time: Clock) {
    this.#settings = settings;
    this.#clock = time;
    this.#fetches = own.counter({ name: "rates_fetches_total", help: "Fetches, by outcome.", labels: ["outcome"] });
    own.gauge({
      name: "rates_age_seconds",
      help: "Age of the rates. Absent before the first ones.",
      collect: (gauge) => {
        if (Number.isFinite(this.ageMs)) gauge.set({}, this.ageMs / 1_000);
      },
    });
  }

  get ageMs(): number {
    return this.#clock.monotonicMs() - this.#fetchedAtMs;
  }

  of(currency: string): number {
    const rate = this.#known.get(currency);
    if (rate === undefined) throw AppError.notFound("ERR_RATE_UNKNOWN", `there is no rate of ${currency}`);
    return rate;
  }

  async refresh(): Promise<void> {
    const { url } = this.#settings;
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
      if (!response.ok) throw new Error(`the answer is ${response.status}`);
      this.#known = new Map(Object.entries(table.parse(await response.json())));
      this.#fetchedAtMs = this.#clock.monotonicMs();
      this.#fetches.inc({ outcome: "ok" });
    } catch (cause) {
      this.#fetches.inc({ outcome: "failed" });
      throw AppError.unavailable("ERR_RATES_SOURCE", `no rates from ${url}`, { cause });
    }
  }

  requireFresh(): void {
    const { maxAgeMs } = this.#settings;
    if (this.ageMs > maxAgeMs) throw new Error(`the rates are older than ${maxAgeMs} ms`);
  }
}

const rates = token("rates").of<Rates>();

const ratesModule = defineModule("rates", [
  provider({
    provides: rates,
    needs: { settings: ratesSettings, own: metrics, clock },
    create: ({ settings, own, clock: time }) => new Rates(settings, own, time),
  }),
  provider({
    provides: token("rates.job").of<{ start(): void; stop(): Promise<void> }>(),
    needs: { rates, errors: errorBus, settings: ratesSettings, clock },
    create: ({ rates: own, errors, settings, clock: time }) => {
      const stopping = new AbortController();
      const { signal } = stopping;
      const refresh = errors.guard("rates.refresh", () => own.refresh()); // never rejects: it reports
      const work = async (): Promise<void> => {
        while (!signal.aborted) {
          await refresh();
          await sleep(time, settings.intervalMs, { signal }).catch(() => {}); // cut short by the stop
        }
      };
      let running: Promise<void> | undefined;
      return {
        start: () => void (running = work()),
        stop: async () => {
          stopping.abort();
          await running;
        },
      };
    },
    start: (job) => job.start(),
    stop: (job) => job.stop(),
  }),
  provider({
    provides: healthChecks,
    needs: { rates },
    create: ({ rates: own }) => ({
      name: "rates",
      critical: false, // old rates are better than none
      intervalMs: 1_000,
      run: () => own.requireFresh(),
    }),
  }),
  provider({
    provides: httpRoutes,
    needs: { rates },
    create:
      ({ rates: own }) =>
      (app) => {
        app.get("/rates/:currency", { schema: { params: z.object({ currency: z.string() }) } }, ({ params }) => ({
          rate: own.of(params.currency),
        }));
      },
  }),
]);

const app = createApp({ name: "rates", modules: [coreModule, webhookReporterModule, httpModule, ratesModule] });
process.exitCode = await app.run();
