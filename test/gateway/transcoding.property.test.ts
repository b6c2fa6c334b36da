import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { after, describe, it } from "node:test";
import { create, type DescFile, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { bindingsOf } from "../../pkg/gateway/src/transcoding/bindings.ts";
import { FrameReader, toFrame } from "../../pkg/gateway/src/transcoding/frames.ts";
import { parseJson } from "../../pkg/gateway/src/transcoding/json-text.ts";
import { RequestFault } from "../../pkg/gateway/src/transcoding/request-fault.ts";
import { toMessage } from "../../pkg/gateway/src/transcoding/request-message.ts";
import { BookSchema, file_library_v1_library } from "./gen/library/v1/library_pb.ts";

/** `PLINTH_FUZZ_RUNS=200000` for a long look; with `PLINTH_FUZZ_SEED`, at other requests. */
const options = {
  numRuns: Number(env["PLINTH_FUZZ_RUNS"] ?? 300),
  seed: Number(env["PLINTH_FUZZ_SEED"] ?? 20_261_123),
};

const folder = mkdtempSync(join(tmpdir(), "transcoding-fuzz-"));
const descriptors = join(folder, "library.binpb");
const files = new Set<DescFile>();
const add = (file: DescFile): void => {
  for (const needed of file.dependencies) add(needed);
  files.add(file);
};
add(file_library_v1_library);
writeFileSync(
  descriptors,
  toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [...files].map(({ proto }) => proto) })),
);
const { paths } = bindingsOf(
  { descriptors, maxRequestBytes: 1e6, maxReplyBytes: 1e6, maxDepth: 64, emitDefaults: false },
  (problem) => assert.fail(problem),
);

/** What is made of a request, or why not: never anything else. */
function verdictOf<T>(act: () => T): T | RequestFault {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof RequestFault)) throw error;
    assert.ok(error.message.length > 0 && error.message.length <= 400 && error.message.isWellFormed(), error.message);
    return error;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const names =
  "name isbn parent page_size pageSize genre genres filter.or.title book.title book mask lent token all author_names copies price cover sequel ratings reader edition.book.sequel.price edition.languages more labels shelf_name shelf_number page title marks seen_at note.data __proto__ constructor toString jsonName 0 a.".split(
    " ",
  );
const word = fc.oneof(
  fc.constantFrom(
    "",
    "1",
    "-1",
    "true",
    "false",
    "null",
    "GENRE_NOVEL",
    "2026-01-02T03:04:05Z",
    "1.5s",
    "a,b",
    "_-8",
    "/+8=",
    "NaN",
    "1e400",
    "9007199254740993",
    "0x1",
    "%ff",
    "%00",
    "%",
    "\ud800",
    "+",
    "a/b",
    "__proto__",
  ),
  fc.string({ unit: "binary", maxLength: 6 }).map((text) => encodeURIComponent(text.toWellFormed())),
);
const query = fc
  .array(fc.tuple(fc.constantFrom(...names), word), { maxLength: 4 })
  .map((all) => (all.length === 0 ? "" : `?${all.map(([name, text]) => `${name}=${text}`).join("&")}`));
const leaf = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, -1, 1.5, 2 ** 53, "", "x", "GENRE_POEMS", "_-8", "1", "NaN", [], {}),
  fc.jsonValue({ maxDepth: 1 }),
);
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.array(tie("json"), { maxLength: 2 }),
    fc.array(fc.tuple(fc.constantFrom(...names), tie("json")), { maxLength: 3 }).map((all) => Object.fromEntries(all)),
  ),
}));
const body = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  json.map((value) => Buffer.from(JSON.stringify(value))),
  fc.tuple(json, fc.nat(60), fc.nat(255)).map(([value, at, byte]) => {
    const bytes = Buffer.from(JSON.stringify(value));
    bytes[at % bytes.length] = byte;
    return bytes;
  }),
);
/** Of the path of an annotation, with something for each of its variables. */
const requests = fc
  .tuple(
    fc.constantFrom(...paths),
    fc.array(fc.constantFrom("1", "a", "%C3%BC", "true", "GENRE_NOVEL", "2026-01-02T03:04:05Z", "_-8", "%20"), {
      minLength: 6,
      maxLength: 6,
    }),
    query,
    body,
  )
  .map(([{ binding, pattern }, words, asked, bytes]) => {
    const parts = pattern.segments.map((segment, at) => segment ?? words[at % words.length]);
    const rest = pattern.isPrefix ? words.slice(0, 2) : [];
    const path = `/${[...parts, ...rest].join("/")}${pattern.verb === undefined ? "" : `:${pattern.verb}`}`;
    return { binding, request: { path, query: asked, body: bytes, contentType: "application/json" } };
  });

describe("a request that is translated", () => {
  after(() => rmSync(folder, { recursive: true }));
  it("is a message of the contract or is refused with a fault, whatever is in its path, its query and its body", () => {
    let taken = 0;
    fc.assert(
      fc.property(requests, ({ binding, request }) => {
        const { method, registry } = binding;
        const bytes = verdictOf(() => toMessage(binding, request));
        if (bytes instanceof RequestFault) return;
        taken++;
        const message = fromBinary(method.input, bytes);
        assert.equal(Reflect.get(message, "$unknown"), undefined);
        toJson(method.input, message, { registry });
        assert.deepEqual(toMessage(binding, request), bytes, "twice is the same");
        assert.equal(Reflect.get({}, "title"), undefined);
      }),
      options,
    );
    assert.ok(taken > options.numRuns / 20, `${taken} of ${options.numRuns} were taken`);
  });

  const digits = fc.oneof(
    fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
    fc.constantFrom(
      "-0",
      "0",
      "1e400",
      "9007199254740993",
      "-9223372036854775808",
      "12345678901234567890.5",
      "00000000000000000001",
    ),
  );
  const text = fc
    .array(
      fc.oneof(
        digits,
        fc.constantFrom("{", "}", "[", "]", ",", ":", '"copies"', '"price"', '"title"', '"\\"', '"\\\\"', " ", "true"),
      ),
      { maxLength: 7 },
    )
    .map((all) => all.join(""));
  it("is JSON for this reader where it is for any, and keeps each digit of a whole number of 64 bits", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          text,
          digits.map((number) => `{"copies":${number}}`),
        ),
        (given) => {
          const read = verdictOf(() =>
            parseJson(Buffer.from(given), { at: BookSchema, maxDepth: 64, takesAnyJson: false }),
          );
          if (!isJson(given)) assert.ok(read instanceof RequestFault, given);
          const [, number] = /^\{"copies":(-?[1-9]\d*)\}$/.exec(given) ?? [];
          if (number === undefined || read instanceof RequestFault) return;
          const copies: unknown = typeof read === "object" && read !== null ? Reflect.get(read, "copies") : undefined;
          assert.ok(typeof copies === "string" || typeof copies === "number", given);
          assert.equal(BigInt(copies), BigInt(number));
        },
      ),
      options,
    );
  });

  for (const [what, given, fault] of [
    ["a text", '{"title": 9007199254740993}', /title: a number does not fit/],
    ["bytes", '{"cover": 9007199254740993}', /cover: a number/],
    ["a text in a list", '{"authorNames": ["a", 9007199254740993]}', /author_names: a number/],
    ["a text further in", '{"sequel": {"title": 9007199254740993}}', /title: a number/],
    ["a message", '{"sequel": 9007199254740993}', /sequel: a number/],
    ["a key", '{"ratings": {9007199254740993: 1}}', /not JSON/],
  ] as const)
    it(`is refused with a long number for ${what}`, () => {
      const read = verdictOf(() =>
        parseJson(Buffer.from(given), { at: BookSchema, maxDepth: 64, takesAnyJson: false }),
      );
      assert.match(read instanceof RequestFault ? read.message : "", fault);
    });
});

describe("messages of a reply", () => {
  it("are the same however their bytes come", () => {
    const cut = fc.array(fc.nat(200), { maxLength: 6 });
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 5 }), cut, (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(toFrame));
        const reader = new FrameReader(20);
        const places = [0, ...cuts.map((at) => at % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b);
        const found = places.slice(1).flatMap((to, index) => reader.take(bytes.subarray(places[index], to)));
        assert.deepEqual(
          found,
          messages.map((message) => Buffer.from(message)),
        );
        assert.equal(reader.isBetween, true);
      }),
      { ...options, numRuns: options.numRuns / 3 },
    );
  });
});
