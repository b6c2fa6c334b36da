import {
  coreModule,
  createApp,
  defineModule,
  defineSettings,
  type Logger,
  logger,
  provider,
  token,
  z,
} from "@plinth/kernel";

class Greeter {
  readonly #log: Logger;
  readonly #to: string;

  constructor(log: Logger, to: string) {
    this.#log = log;
    this.#to = to;
  }

  greet(): void {
    this.#log.info("hello", { to: this.#to });
  }

  leave(): void {
    this.#log.info("goodbye", { to: this.#to });
  }
}

const greeter = token("greeter").of<Greeter>();
const helloSettings = defineSettings("hello", z.strictObject({ to: z.string().min(1).default("world") }));

const helloModule = defineModule("hello", [
  provider({
    provides: greeter,
    needs: { log: logger, settings: helloSettings },
    create: ({ log, settings }) => new Greeter(log, settings.to),
    start: (own) => own.greet(),
    stop: (own) => own.leave(),
  }),
]);

const app = createApp({ name: "hello", modules: [coreModule, helloModule] });
process.exitCode = await app.run(); // start, wait for a signal or a fatal error, stop, tell how it went
