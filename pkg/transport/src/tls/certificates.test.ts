import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { SecureContextOptions } from "node:tls";
import { createLogger, createMetrics, type Metrics, type RootLogger } from "@plinth/kernel";
import { FakeClock, MemoryLog, until } from "@plinth/kernel/testing";
import { makeCertificate, type TestCertificate, type TestCertificateOptions } from "../testing/certificates.ts";
import { type Certificates, watchCertificates } from "./certificates.ts";
import { tlsSettings, type TlsSettings } from "./settings.ts";

const dayMs = 86_400_000;
const nowMs = Date.UTC(2026, 0, 1);

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-tls-"));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

const settings = (more: Partial<TlsSettings> = {}): TlsSettings =>
  tlsSettings.parse({ certFile: at("tls.crt"), keyFile: at("tls.key"), ...more });

/** Valid from a day before the clock's time, for thirty days. */
const made = (options: TestCertificateOptions = {}) =>
  makeCertificate({ fromMs: nowMs - dayMs, untilMs: nowMs + 30 * dayMs, ...options });

function write({ cert, key }: TestCertificate, into = folder): void {
  writeFileSync(join(into, "tls.crt"), cert);
  writeFileSync(join(into, "tls.key"), key);
}

/** Counts the looks at the files. */
class LookingClock extends FakeClock {
  looks = 0;

  override schedule(delayMs: number, run: () => void) {
    if (delayMs === 1_000) this.looks++;
    return super.schedule(delayMs, run);
  }
}

interface Observed {
  readonly log: RootLogger;
  readonly lines: MemoryLog;
  readonly metrics: Metrics;
}

async function observe(): Promise<Observed> {
  const lines = new MemoryLog();
  return { lines, log: await createLogger({ destination: lines }), metrics: createMetrics() };
}

/** A watch, what it gave on, and a way to let it look. */
class Watched implements Disposable {
  readonly clock: LookingClock;
  readonly observed: Observed;
  readonly given: SecureContextOptions[] = [];
  readonly certificates: Certificates;

  constructor(clock: LookingClock, observed: Observed, more: Partial<TlsSettings>) {
    const { log, metrics } = observed;
    this.clock = clock;
    this.observed = observed;
    const onChange = (context: SecureContextOptions): void => void this.given.push(context);
    this.certificates = watchCertificates({
      settings: settings(more),
      listener: "http",
      clock,
      log,
      metrics,
      onChange,
    });
  }

  static async open(more: Partial<TlsSettings> = {}): Promise<Watched> {
    const clock = new LookingClock(nowMs);
    return new Watched(clock, await observe(), more);
  }

  /** Looks at the files `times` times. */
  async look(times = 3): Promise<void> {
    for (let time = 0; time < times; time++) {
      const { looks } = this.clock;
      await this.clock.advance(1_000);
      await until(() => this.clock.looks > looks, { what: "the files were looked at" });
      await new Promise(setImmediate);
    }
  }

  lines(message: RegExp): readonly Readonly<Record<string, unknown>>[] {
    return this.observed.lines.lines.filter((line) => message.test(String(line.message)));
  }

  async metric(name: string): Promise<string | undefined> {
    const { body } = await this.observed.metrics.expose();
    return body
      .split("\n")
      .find((line) => line.startsWith(name))
      ?.split(" ")
      .at(-1);
  }

  [Symbol.dispose](): void {
    this.certificates.close();
  }
}

describe("the settings of TLS", () => {
  it("are safe by default", () => {
    const { clientCertificate, minVersion, expiryWarningDays } = settings();
    assert.deepEqual(
      { clientCertificate, minVersion, expiryWarningDays },
      {
        clientCertificate: "off",
        minVersion: "TLSv1.2",
        expiryWarningDays: 14,
      },
    );
  });

  for (const clientCertificate of ["request", "require"] as const) {
    it(`refuse ${clientCertificate} without authorities`, () => {
      assert.throws(() => settings({ clientCertificate }), /caFile/);
    });
  }

  it("refuse authorities that nothing would be judged by", () => {
    assert.throws(() => settings({ caFile: "ca.crt" }), /request or require/);
  });

  it("refuse TLS 1.1", () => {
    assert.throws(() => tlsSettings.parse({ certFile: "a", keyFile: "b", minVersion: "TLSv1.1" }), /minVersion/);
  });
});

describe("a certificate that a start is refused for", () => {
  const good = made();
  const other = made();
  const faults: readonly {
    readonly what: string;
    readonly pair: Partial<TestCertificate>;
    readonly code: string;
    readonly message: RegExp;
  }[] = [
    { what: "no certificate file", pair: { key: good.key }, code: "ERR_TLS_FILE", message: /tls\.crt .*ENOENT/ },
    { what: "no key file", pair: { cert: good.cert }, code: "ERR_TLS_FILE", message: /tls\.key .*ENOENT/ },
    {
      what: "an empty file",
      pair: { ...good, cert: "" },
      code: "ERR_TLS_FILE",
      message: /tls\.crt .*no certificate in PEM/,
    },
    {
      what: "half of a certificate",
      pair: { ...good, cert: good.cert.slice(0, 200) },
      code: "ERR_TLS_FILE",
      message: /tls\.crt .*half written/,
    },
    {
      what: "half of an intermediate",
      pair: { ...good, cert: good.cert + other.cert.slice(0, 300) },
      code: "ERR_TLS_FILE",
      message: /tls\.crt .*half written/,
    },
    {
      what: "a certificate with bytes missing",
      pair: { ...good, cert: good.cert.replace(/\n.{64}\n/, "\n") },
      code: "ERR_TLS_FILE",
      message: /tls\.crt .*certificate 1 in it cannot be parsed/,
    },
    {
      what: "a key with bytes missing",
      pair: { ...good, key: good.key.replace(/\n.{64}\n/, "\n") },
      code: "ERR_TLS_FILE",
      message: /tls\.key .*private key in it cannot be parsed/,
    },
    {
      what: "a key in the place of the certificate",
      pair: { ...good, cert: good.key },
      code: "ERR_TLS_FILE",
      message: /no certificate/,
    },
    {
      what: "a certificate in the place of the key",
      pair: { ...good, key: good.cert },
      code: "ERR_TLS_FILE",
      message: /no private key/,
    },
    {
      what: "an encrypted key",
      pair: { ...good, key: good.key.replaceAll("PRIVATE KEY", "ENCRYPTED PRIVATE KEY") },
      code: "ERR_TLS_FILE",
      message: /tls\.key .*encrypted; write it without/,
    },
    {
      what: "the key of another certificate",
      pair: { ...good, key: other.key },
      code: "ERR_TLS_CERTIFICATE",
      message: /tls\.crt .*the key in .*tls\.key is of another certificate; write both/,
    },
    {
      what: "one that has expired",
      pair: made({ untilMs: nowMs }),
      code: "ERR_TLS_CERTIFICATE",
      message: /expired at 2026-01-01T00:00:00\.000Z; renew/,
    },
    {
      what: "one that is not valid yet",
      pair: made({ fromMs: nowMs + 1_000 }),
      code: "ERR_TLS_CERTIFICATE",
      message: /valid only from 2026-01-01T00:00:01\.000Z; look at the machine's clock/,
    },
  ];
  for (const { what, pair, code, message } of faults) {
    it(`${what}: named with its file`, async () => {
      if (pair.cert !== undefined) writeFileSync(at("tls.crt"), pair.cert);
      if (pair.key !== undefined) writeFileSync(at("tls.key"), pair.key);
      await assert.rejects(Watched.open(), { code, message, status: "failed_precondition" });
    });
  }

  it("a folder in the place of the authorities", async () => {
    write(good);
    mkdirSync(at("ca"));
    const open = Watched.open({ clientCertificate: "require", caFile: at("ca") });
    await assert.rejects(open, { code: "ERR_TLS_FILE", message: /\/ca cannot be used.*no regular file/ });
  });

  it("leaves no timer behind", async () => {
    write({ ...good, key: other.key });
    const clock = new LookingClock(nowMs);
    const observed = await observe();
    assert.throws(() => new Watched(clock, observed, {}));
    assert.equal(clock.pending, 0);
  });

  it("never shows the key", async () => {
    write({ ...good, key: good.key.replace(/\n.{64}\n/, "\nsecret+key\n") });
    await assert.rejects(Watched.open(), (error: Error) => {
      assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /secret\+key/);
      return true;
    });
  });
});

describe("a certificate that takes another's place", () => {
  it("is given on once, when both files are written, and counted", async () => {
    write(made());
    using watched = await Watched.open();
    const next = made({ untilMs: nowMs + 60 * dayMs });
    write(next);
    await watched.look(5);
    assert.deepEqual(
      watched.given.map(({ cert, key }) => [cert, key]),
      [[next.cert, next.key]],
    );
    assert.equal(watched.certificates.context.cert, next.cert);
    assert.equal(await watched.metric(`tls_certificate_loads_total{listener="http",outcome="loaded"}`), "1");
    const expiry = await watched.metric(`tls_certificate_expiry_timestamp_seconds{listener="http"}`);
    assert.equal(Number(expiry), (nowMs + 60 * dayMs) / 1e3);
  });

  it("comes by a swap of symbolic links too, as a mounted Secret's does", async () => {
    const next = made();
    for (const [name, pair] of [
      ["first", made()],
      ["second", next],
    ] as const) {
      mkdirSync(at(name));
      write(pair, at(name));
    }
    symlinkSync("first", at("..data"));
    for (const file of ["tls.crt", "tls.key"]) symlinkSync(join("..data", file), at(file));
    using watched = await Watched.open();
    symlinkSync("second", at("..data_tmp"));
    renameSync(at("..data_tmp"), at("..data"));
    rmSync(at("first"), { recursive: true });
    await watched.look(3);
    assert.deepEqual(
      watched.given.map(({ cert }) => cert),
      [next.cert],
    );
    assert.deepEqual(watched.lines(/cannot be used/), []);
  });

  it("waits for its key, and the one before stays until then", async () => {
    const first = made();
    const next = made();
    write(first);
    using watched = await Watched.open();
    writeFileSync(at("tls.crt"), next.cert);
    await watched.look(5);
    assert.equal(watched.certificates.context.cert, first.cert);
    const [told, ...more] = watched.lines(/cannot be used, and the one before stays/);
    assert.equal(more.length, 0, "once for one fault");
    assert.match(JSON.stringify(told), /ERR_TLS_CERTIFICATE.*is of another certificate/);
    assert.equal(await watched.metric(`tls_certificate_loads_total{listener="http",outcome="refused"}`), "1");
    writeFileSync(at("tls.key"), next.key);
    await watched.look(3);
    assert.equal(watched.certificates.context.cert, next.cert);
    assert.equal(watched.given.length, 1);
  });

  for (const [what, broken] of [
    ["half written", () => made().cert.slice(0, 250)],
    ["empty", () => ""],
    ["expired", () => made({ untilMs: nowMs - 1 })],
  ] as const) {
    it(`is refused while it is ${what}, and the one before stays`, async () => {
      const first = made();
      write(first);
      using watched = await Watched.open();
      const next = broken();
      if (typeof next === "string") writeFileSync(at("tls.crt"), next);
      else write(next);
      await watched.look(4);
      assert.deepEqual(watched.given, []);
      assert.equal(watched.certificates.context.cert, first.cert);
      assert.equal(watched.lines(/cannot be used/).length, 1);
    });
  }

  it("is refused when its files are gone, and taken when they are back", async () => {
    write(made());
    using watched = await Watched.open();
    rmSync(at("tls.crt"));
    await watched.look(3);
    assert.match(JSON.stringify(watched.lines(/cannot be used/)), /ENOENT/);
    const next = made();
    write(next);
    await watched.look(3);
    assert.deepEqual(
      watched.given.map(({ cert }) => cert),
      [next.cert],
    );
  });

  it("is taken when its time has come, though its files stay as they are", async () => {
    write(made());
    using watched = await Watched.open();
    const next = made({ fromMs: nowMs + 90_000 });
    write(next);
    await watched.look(3);
    assert.deepEqual(watched.given, []);
    await watched.clock.advance(120_000);
    assert.deepEqual(
      watched.given.map(({ cert }) => cert),
      [next.cert],
    );
    assert.equal(watched.lines(/cannot be used/).length, 1);
  });

  it("brings its authorities with it", async () => {
    const [first, second] = [made({ name: "first" }), made({ name: "second" })];
    write(made());
    writeFileSync(at("ca.crt"), first.cert);
    using watched = await Watched.open({ clientCertificate: "require", caFile: at("ca.crt") });
    assert.equal(watched.certificates.context.ca, first.cert);
    writeFileSync(at("ca.crt"), first.cert + second.cert);
    await watched.look(3);
    assert.deepEqual(
      watched.given.map(({ ca }) => ca),
      [first.cert + second.cert],
    );
  });

  it("is not looked for after the close, which leaves no timer", async () => {
    write(made());
    const watched = await Watched.open();
    writeFileSync(at("tls.crt"), "");
    await watched.look(3);
    watched.certificates.close();
    watched.certificates.close();
    assert.equal(watched.clock.pending, 0);
    assert.equal(await watched.metric("tls_certificate_expiry_timestamp_seconds{"), undefined);
  });
});

describe("the end of a certificate", () => {
  it("is warned of once a day from two weeks before it, then told as an error", async () => {
    write(made({ untilMs: nowMs + 15.5 * dayMs }));
    using watched = await Watched.open();
    const days = (): unknown[] => watched.lines(/expires soon|has expired/).map((line) => [line.level, line.days_left]);
    assert.deepEqual(days(), []);
    await watched.clock.advance(2 * dayMs);
    assert.deepEqual(days(), [["warn", 13]]);
    await watched.clock.advance(14 * dayMs);
    assert.equal(days().length, 15);
    assert.deepEqual(days().at(-1), ["error", -1]);
  });

  it("is forgotten with a certificate that lasts longer", async () => {
    write(made({ untilMs: nowMs + 5 * dayMs }));
    using watched = await Watched.open();
    assert.equal(watched.lines(/expires soon/).length, 1);
    write(made({ untilMs: nowMs + 90 * dayMs }));
    await watched.look(3);
    await watched.clock.advance(10 * dayMs);
    assert.equal(watched.lines(/expires soon|has expired/).length, 1);
  });

  it("is told for each listener of one registry", async () => {
    write(made());
    using first = await Watched.open();
    const { clock, observed } = first;
    const { log, metrics } = observed;
    const second = watchCertificates({ settings: settings(), listener: "grpc", clock, log, metrics, onChange() {} });
    for (const listener of ["http", "grpc"])
      assert.ok(await first.metric(`tls_certificate_expiry_timestamp_seconds{listener="${listener}"}`));
    second.close();
    assert.equal(await first.metric(`tls_certificate_expiry_timestamp_seconds{listener="grpc"}`), undefined);
  });
});
