import assert from "node:assert/strict";
import { env } from "node:process";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { checkHeaders, headersSchema } from "../config/schema-headers.ts";
import { toClientHeaders, toClientTrailers } from "./reply.ts";
import { readRequestHead } from "./request-head.ts";
import { toServiceTrailers } from "./request-trailers.ts";
import { edit, fillRules, toHeaderRules } from "./rules.ts";
import type { TemplateFacts } from "./template.ts";

/** `PLINTH_FUZZ_RUNS=200000` for a long look; with `PLINTH_FUZZ_SEED`, at other heads. */
const options = {
  numRuns: Number(env["PLINTH_FUZZ_RUNS"] ?? 500),
  seed: Number(env["PLINTH_FUZZ_SEED"] ?? 20_261_123),
};

/** Of the connection, and claims about who asks: written down here once more, from the specifications and the README. */
const hopByHop =
  "connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade http2-settings alt-svc".split(
    " ",
  );
const claims =
  "forwarded x-real-ip x-client-ip x-cluster-client-ip true-client-ip cf-connecting-ip fastly-client-ip x-http-method x-http-method-override x-method-override x-rewrite-url x-request-id traceparent tracestate baggage x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-tls x-original-url x-original-host plinth-subject plinth-scopes plinth-timeout-ms plinth- x-plinth-user".split(
    " ",
  );
/** Handed on by the gateway, each in a way of its own. */
const own = ["host", "content-length", "authorization", "expect", "via"];
const toService = new Set([...hopByHop, ...claims, ...own]);
const toClient = new Set([
  ...hopByHop,
  "x-request-id",
  "content-length",
  "date",
  "ratelimit",
  "ratelimit-policy",
  "strict-transport-security",
  "via",
  "plinth-subject",
  "plinth-scopes",
  "plinth-timeout-ms",
  "plinth-",
]);

const plain = fc.constantFrom("x-a", "x-b", "x-c", "accept", "cookie", "x-forwarded", "plinth", "te-x", "content-type");
const guarded = fc.constantFrom(...hopByHop, ...claims, ...own);
/** In any case of its letters, now and then with the `_` that many servers take for `-`. */
const spelled = (name: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(name, fc.nat(2 ** 16), fc.constantFrom("-", "-", "-", "-", "_")).map(([text, bits, dash]) =>
    text
      .split("")
      .map((char, at) => ((bits >> (at % 16)) & 1 ? char.toUpperCase() : char))
      .join("")
      .replaceAll("-", dash),
  );
const anyName = spelled(fc.oneof(plain, plain, guarded));
const value = fc.oneof(
  fc.constantFrom(
    "",
    "1",
    "x, y",
    "a\r\nplinth-subject: root",
    "a\nb",
    "a\rb",
    "\0",
    "\u001b",
    "\u007f",
    "caf\u00e9",
    "\u0100",
  ),
  fc.string({ unit: "binary-ascii", maxLength: 8 }),
);
const line = fc.tuple(anyName, value);
const lines = fc.array(line, { maxLength: 10 });
const tokens = fc
  .array(fc.oneof(anyName, fc.constantFrom("close", "keep-alive", "", " ")), { minLength: 1, maxLength: 4 })
  .map((all) => all.join(", "));

const flat = (head: readonly (readonly [string, string])[]): string[] => head.flat();
function pairs(head: readonly string[]): [string, string][] {
  return head.flatMap((name, at): [string, string][] => (at % 2 === 0 ? [[name, head[at + 1] ?? ""]] : []));
}

/** Whether a client's header may be believed by services, slowly. */
function isForServices(name: string): boolean {
  const lower = name.toLowerCase();
  if (lower.includes("_") || toService.has(lower)) return false;
  return !["plinth-", "x-plinth-", "x-forwarded-", "x-original-"].some((prefix) => lower.startsWith(prefix));
}

describe("the head of a request", () => {
  it("keeps what is of the message and believable, in its order, and nothing that Connection names", () => {
    fc.assert(
      fc.property(lines, fc.option(tokens, { nil: undefined }), (given, connection) => {
        const rest = given.filter(
          ([name]) => !/^(?:host|connection|content-length|transfer-encoding|authorization)$/i.test(name),
        );
        const extra: [string, string][] = [
          ["Host", "h.example"],
          ...(connection === undefined ? [] : [["CONNECTION", connection] as [string, string]]),
        ];
        const head = headOf([...rest, ...extra]);
        const gone = new Set((connection ?? "").split(",").map((token) => token.trim().toLowerCase()));
        const expected = rest.filter(
          ([name]) => isForServices(name) && !(gone.has(name.toLowerCase()) && !/^(?:close|keep-alive)$/i.test(name)),
        );
        assert.deepEqual(pairs(head.headers), expected);
        // what came out says the same when it comes in again
        assert.deepEqual(headOf([...pairs(head.headers), ["host", "h.example"]]).headers, head.headers);
        // lines of different names may come in any order
        const turned = headOf([...extra, ...rest.toSorted(([a], [b]) => order(a, b))]);
        assert.deepEqual(
          pairs(turned.headers),
          pairs(head.headers).toSorted(([a], [b]) => order(a, b)),
        );
      }),
      options,
    );
  });

  it("is refused with a second one of what there is one of, however that is spelled", () => {
    const single = fc.constantFrom("host", "authorization", "content-length", "transfer-encoding");
    fc.assert(
      fc.property(lines, single, fc.nat(2 ** 16), (given, name, bits) => {
        const rest = given.filter(([each]) => !/^(?:host|content-length|transfer-encoding|authorization)$/i.test(each));
        const second = name
          .split("")
          .map((char, at) => ((bits >> at) & 1 ? char.toUpperCase() : char))
          .join("");
        const host: [string, string][] = name === "host" ? [] : [["host", "h.example"]];
        const once = read([[name, valueOf(name)], ...rest, ...host]);
        const twice = read([[name, valueOf(name)], ...rest, [second, valueOf(name)], ...host]);
        assert.ok(!("reason" in once), name);
        assert.ok("reason" in twice, name);
      }),
      { ...options, numRuns: options.numRuns / 5 },
    );
  });

  it("has nothing behind the body that it could not have had before it", () => {
    fc.assert(
      fc.property(lines, (given) => {
        for (const [name, text] of pairs(toServiceTrailers(flat(given)))) {
          assert.ok(isForServices(name), name);
          assert.doesNotMatch(text, /[\r\n\0]/);
        }
        for (const [name, text] of toClientTrailers(flat(given.map(([each, text]) => [each.toLowerCase(), text])))) {
          assert.ok(!hopByHop.includes(name) && name !== "content-length" && name !== "set-cookie", name);
          assert.doesNotMatch(text, /[\r\n\0]/);
        }
      }),
      options,
    );
  });
});

function order(one: string, other: string): number {
  const [a, b] = [one.toLowerCase(), other.toLowerCase()];
  return a < b ? -1 : Number(a > b);
}

function valueOf(name: string): string {
  return { host: "h.example", "content-length": "0", "transfer-encoding": "chunked" }[name] ?? "Bearer x";
}

function read(head: readonly (readonly [string, string])[]) {
  return readRequestHead({ url: "/", httpVersionMajor: 1, httpVersionMinor: 1, rawHeaders: flat(head) }, 100);
}

function headOf(head: readonly (readonly [string, string])[]) {
  const result = read(head);
  if ("reason" in result) assert.fail(result.reason);
  return result;
}

describe("the head of a reply", () => {
  it("keeps what is not of the connection to the service, in its order", () => {
    fc.assert(
      fc.property(lines, tokens, fc.constantFrom(200, 204), (given, connection, status) => {
        const head = [
          ...given.map(([name, text]): [string, string] => [name.toLowerCase(), text]),
          ["connection", connection] as const,
        ];
        const named = head.flatMap(([name, text]) => (name === "connection" ? text.toLowerCase().split(",") : []));
        const gone = new Set(named.map((token) => token.trim()));
        const expected = head.filter(
          ([name]) =>
            !hopByHop.includes(name) &&
            name !== "x-request-id" &&
            !(status === 204 && name === "content-length") &&
            !(gone.has(name) && name !== "close" && name !== "keep-alive"),
        );
        assert.deepEqual(pairs(toClientHeaders(status, flat(head))), expected);
      }),
      options,
    );
  });
});

const goodPiece = fc.constantFrom(
  "a",
  " ",
  "$",
  "{",
  "${request.id}",
  "${route.name}",
  "${claim.sub}",
  "${claim.__proto__}",
);
const badPiece = fc.constantFrom("${env.HOME}", "${", "\r\n", "\n", "\0", "\u00e9", "\u0100");
const piece = fc.oneof({ weight: 12, arbitrary: goodPiece }, { weight: 1, arbitrary: badPiece });
const template = fc.array(piece, { maxLength: 4 }).map((parts) => parts.join(""));
const ruleName = fc.oneof(
  plain,
  plain,
  plain,
  anyName,
  fc.constantFrom("x a", "x:a", "x\r\ny", "", "\u00e9", "x-\0", "constructor", "toString"),
);
const rules = fc.record(
  { set: pairsOf(ruleName, template), add: pairsOf(ruleName, template), remove: fc.array(ruleName, { maxLength: 3 }) },
  { requiredKeys: [] },
);
const facts: fc.Arbitrary<TemplateFacts> = fc.record({
  requestId: fc.constant("r1"),
  routeName: fc.constant("notes"),
  clientAddress: fc.constant("::1"),
  claims: fc.option(fc.record({ sub: fc.oneof(value, fc.anything()) }), { nil: undefined }),
});

function pairsOf(name: fc.Arbitrary<string>, text: fc.Arbitrary<string>): fc.Arbitrary<Record<string, string>> {
  return fc.array(fc.tuple(name, text), { maxLength: 3 }).map((all) => Object.fromEntries(all));
}

describe("rules of headers that a document may have", () => {
  for (const [way, kept] of [
    ["request", toService],
    ["reply", toClient],
  ] as const)
    it(`change of a ${way} what its sender may say, and nothing else, as a slow reading does`, () => {
      let taken = 0;
      fc.assert(
        fc.property(rules, facts, lines, (config, given, head) => {
          const parsed = headersSchema.safeParse({ [way]: config });
          const problems: string[] = [];
          if (parsed.success) checkHeaders(parsed.data, true, (problem) => problems.push(problem));
          const names = [...Object.keys(config.set ?? {}), ...Object.keys(config.add ?? {}), ...(config.remove ?? [])];
          const texts = [...Object.values(config.set ?? {}), ...Object.values(config.add ?? {})];
          const isGood =
            new Set(names).size === names.length &&
            names.every(
              (name) =>
                /^[a-z0-9!#$%&'*+.^`|~-]+$/.test(name) && (way === "request" ? isForServices(name) : !kept.has(name)),
            ) &&
            texts.every((text) => isTemplate(text));
          assert.equal(parsed.success && problems.length === 0, isGood, problems.join());
          if (!isGood) return;
          taken++;
          const made = toHeaderRules(config);
          const edits = made && fillRules(made, given);
          if (!made || !edits) return; // nothing to do, or a value that no header may have: refused as a whole
          const changed = flat(head);
          edit(changed, edits);
          assert.deepEqual(pairs(changed), slowly(config, given, head));
          for (const [name, text] of pairs(edits.lines)) {
            assert.match(text, /^[\t -~]*$/);
            assert.ok(way === "request" ? isForServices(name) : !kept.has(name), name);
          }
          if (Object.keys(config.add ?? {}).length === 0) {
            const again = [...changed];
            edit(again, edits);
            assert.deepEqual(again, changed, "twice is as good as once");
          }
          const other = toHeaderRules({
            ...config,
            set: turned(config.set),
            add: turned(config.add),
            remove: config.remove?.toReversed(),
          });
          const otherEdits = other && fillRules(other, given);
          const otherHead = flat(head);
          if (otherEdits) edit(otherHead, otherEdits);
          assert.deepEqual(
            pairs(otherHead).toSorted(([a], [b]) => order(a, b)),
            pairs(changed).toSorted(([a], [b]) => order(a, b)),
          );
        }),
        options,
      );
      assert.ok(taken > options.numRuns / 20, `${taken} were taken at all`);
    });
});

function turned(all: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(all ?? {}).toReversed());
}

/** Read a character at a time. */
function isTemplate(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== "\t" && (text[at]! < " " || text[at]! > "~")) return false;
    if (!text.startsWith("${", at)) continue;
    const end = text.indexOf("}", at);
    const name = text.slice(at + 2, end < 0 ? at + 2 : end);
    if (!["request.id", "route.name", "claim.sub", "claim.__proto__"].includes(name)) return false;
    at = end;
  }
  return true;
}

type Config = {
  readonly set?: Record<string, string>;
  readonly add?: Record<string, string>;
  readonly remove?: readonly string[];
};

/** One line after the other, and each rule by itself. */
function slowly(
  { set = {}, add = {}, remove = [] }: Config,
  facts: TemplateFacts,
  head: readonly (readonly [string, string])[],
): [string, string][] {
  let result = head.map(([name, text]): [string, string] => [name, text]);
  for (const name of [...remove, ...Object.keys(set)]) result = result.filter(([each]) => each.toLowerCase() !== name);
  for (const [name, text] of [...Object.entries(set), ...Object.entries(add)]) {
    const made = toHeaderRules({ add: { x: text } });
    const edits = made && fillRules(made, facts);
    const [, filled] = edits?.lines ?? [];
    if (filled !== undefined) result.push([name, filled]);
  }
  return result;
}
