import {
  coreModule,
  createApp,
  defineModule,
  defineSettings,
  live,
  type LiveSettings,
  type Logger,
  logger,
  provider,
  secretString,
  token,
  type ValueOf,
  z,
} from "@plinth/kernel";

const mailSettings = defineSettings(
  "mail",
  z.strictObject({
    server: z.string().min(1).default("localhost").meta({ description: "Host that takes the mail." }),
    password: secretString("Of the mail server.").optional(),
    perMinute: z.int().min(1).default(10).meta({ description: "Most mails in one minute." }),
  }),
  { reloadable: ["perMinute"] }, // the connection is opened once, but the limit is asked for with each mail
);

class Mailer {
  readonly #log: Logger;
  readonly #settings: LiveSettings<ValueOf<typeof mailSettings>>;

  constructor(log: Logger, settings: LiveSettings<ValueOf<typeof mailSettings>>) {
    this.#log = log.named("mail");
    this.#settings = settings;
    settings.subscribe(({ perMinute }) => this.#log.info("limit changed", { perMinute }));
  }

  connect(): void {
    const { server, password, perMinute } = this.#settings.current;
    // password?.reveal() is the only way to the text: what is logged here is ***
    this.#log.info("connected", { server, password, perMinute });
  }
}

const mailer = token("mailer").of<Mailer>();

const mailModule = defineModule("mail", [
  provider({
    provides: mailer,
    needs: { log: logger, settings: live(mailSettings) },
    create: ({ log, settings }) => new Mailer(log, settings),
    start: (own) => own.connect(),
  }),
]);

const app = createApp({ name: "mail", modules: [coreModule, mailModule] });
process.exitCode = await app.run();
