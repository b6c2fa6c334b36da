import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { clone, create, type DescFile, type MessageInitShape, setExtension, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, MethodOptionsSchema } from "@bufbuild/protobuf/wkt";
import { bindingsOf, type BoundPath } from "../../pkg/gateway/src/transcoding/bindings.ts";
import { http } from "./gen/google/api/annotations_pb.ts";
import { HttpRuleSchema } from "./gen/google/api/http_pb.ts";
import { file_library_v1_library } from "./gen/library/v1/library_pb.ts";

type Rule = MessageInitShape<typeof HttpRuleSchema>;

const folder = mkdtempSync(join(tmpdir(), "transcoding-contracts-"));
const descriptors = join(folder, "library.binpb");

/** What the library's contract comes to where one method of it has another annotation. */
function read(methodName: string, rule: Rule, change: { readonly clientStreaming?: boolean } = {}) {
  const files: DescFile[] = [];
  const add = (file: DescFile): void => {
    if (files.includes(file)) return;
    for (const needed of file.dependencies) add(needed);
    files.push(file);
  };
  add(file_library_v1_library);
  const protos = files.map(({ proto }) => clone(FileDescriptorProtoSchema, proto));
  const method = protos.at(-1)?.service[0]?.method.find(({ name }) => name === methodName);
  assert.ok(method, methodName);
  method.options = create(MethodOptionsSchema);
  setExtension(method.options, http, create(HttpRuleSchema, rule));
  Object.assign(method, change);
  const set = create(FileDescriptorSetSchema, { file: protos });
  writeFileSync(descriptors, toBinary(FileDescriptorSetSchema, set));
  const problems: string[] = [];
  const config = {
    descriptors,
    methods: [methodName],
    maxRequestBytes: 1,
    maxReplyBytes: 1,
    maxDepth: 1,
    emitDefaults: false,
  };
  const { paths } = bindingsOf(config, (problem, path) => problems.push(`${path.join(".")}: ${problem}`));
  return { paths, problems };
}

interface More {
  readonly body?: string;
  readonly responseBody?: string;
  readonly additionalBindings?: Rule[];
}

const get = (value: string, more: More = {}): Rule => ({ pattern: { case: "get", value }, ...more });
const post = (value: string, more: More = {}): Rule => ({ pattern: { case: "post", value }, ...more });
const shown = ({ httpMethod, pattern, binding }: BoundPath): unknown[] => [
  httpMethod,
  pattern.text,
  pattern.verb,
  binding.variables.map(({ field, from, to }) => [field.join("."), from, to]),
];

describe("an annotation of a contract", () => {
  after(() => rmSync(folder, { recursive: true }));
  const right: [what: string, rule: Rule, expected: unknown[][]][] = [
    ["a field of one segment", get("/v1/{name}"), [["GET", "/v1/{name}", undefined, [["name", 1, 2]]]]],
    [
      "a field of several",
      get("/v1/{name=shelves/*/books/*}"),
      [["GET", "/v1/{name=shelves/*/books/*}", undefined, [["name", 1, 5]]]],
    ],
    ["all that follows", get("/v1/{name=**}"), [["GET", "/v1/{name=**}", undefined, [["name", 1, undefined]]]]],
    [
      "a part of it, and all that follows",
      get("/v1/{name=shelves/**}:read"),
      [["GET", "/v1/{name=shelves/**}:read", "read", [["name", 1, undefined]]]],
    ],
    ["segments without a name", get("/v1/*/books/**"), [["GET", "/v1/*/books/**", undefined, []]]],
    ["a verb behind a literal", get("/v1/books:all"), [["GET", "/v1/books:all", undefined, []]]],
    ["a verb behind a field", get("/v1/{isbn}:read"), [["GET", "/v1/{isbn}:read", "read", [["isbn", 1, 2]]]]],
    [
      "several ways, of which each has a body or not by itself",
      post("/v1/a", {
        body: "*",
        additionalBindings: [get("/v1/b/{isbn}"), { pattern: { case: "delete", value: "/v1/c" } }],
      }),
      [
        ["POST", "/v1/a", undefined, []],
        ["GET", "/v1/b/{isbn}", undefined, [["isbn", 2, 3]]],
        ["DELETE", "/v1/c", undefined, []],
      ],
    ],
    [
      "a method of its own, of those that routes know",
      { pattern: { case: "custom", value: { kind: "PUT", path: "/v1/a" } } },
      [["PUT", "/v1/a", undefined, []]],
    ],
  ];
  for (const [what, rule, expected] of right)
    it(`is read: ${what}`, () => {
      const { paths, problems } = read("GetBook", rule);
      assert.deepEqual([paths.map(shown), problems], [expected, []]);
    });

  const wrong: [what: string, method: string, rule: Rule, problem: RegExp][] = [
    ["no path at all", "GetBook", {}, /names no method of HTTP/],
    [
      "another method of HTTP",
      "GetBook",
      { pattern: { case: "custom", value: { kind: "TRACE", path: "/v1/a" } } },
      /the method TRACE; expected one of/,
    ],
    [
      "any method of HTTP",
      "GetBook",
      { pattern: { case: "custom", value: { kind: "*", path: "/v1/a" } } },
      /the method \*/,
    ],
    ["a path without a slash", "GetBook", get("v1/a"), /begins with \//],
    ["an empty segment", "GetBook", get("/v1//a"), /"" is no segment/],
    ["a path that no request has", "GetBook", get("/v1/../a"), /not in canonical form/],
    ["an escape that no request has", "GetBook", get("/v1/%61"), /not in canonical form/],
    ["`**` before the end", "GetBook", get("/v1/**/a"), /only stand at the end/],
    ["a field of two `**`", "GetBook", get("/v1/{name=**/**}"), /only stand at the end/],
    ["braces within braces", "GetBook", get("/v1/{name={isbn}}"), /expected "\{field\}"/],
    ["braces that stay open", "GetBook", get("/v1/{name"), /expected "\{field\}"/],
    ["a star within a segment", "GetBook", get("/v1/a*"), /is no segment/],
    ["a field twice", "GetBook", get("/v1/{name}/{name}"), /stands in it twice/],
    ["an unknown field", "GetBook", get("/v1/{nmae}"), /no field nmae in library\.v1\.GetBookRequest/],
    ["a field within one value", "GetBook", get("/v1/{name.first}"), /is no field/],
    ["a repeated field", "ListBooks", get("/v1/{author_names}"), /author_names is no single value/],
    ["a message", "ListBooks", get("/v1/{filter}"), /filter is no single value/],
    ["a body with GET", "CreateBook", get("/v1/a", { body: "*" }), /asks for a body with GET/],
    ["a body of an unknown field", "CreateBook", post("/v1/a", { body: "bok" }), /its body bok is no field/],
    [
      "a body that stands in the path",
      "CreateBook",
      post("/v1/{book.name}", { body: "book" }),
      /stands in its path as well/,
    ],
    [
      "a reply of an unknown field",
      "CreateBook",
      post("/v1/a", { responseBody: "bok" }),
      /response_body bok is no field/,
    ],
    [
      "bytes for all, and a part of them in the path",
      "PrintPage",
      post("/v1/{content_type}", { body: "*" }),
      /no part of a path belongs into it/,
    ],
    ["a fault in another way", "GetBook", get("/v1/a", { additionalBindings: [get("/v1/{x}")] }), /no field x/],
  ];
  for (const [what, method, rule, problem] of wrong)
    it(`is refused: ${what}`, () => {
      const { problems } = read(method, rule);
      assert.match(problems.join("\n"), problem);
      assert.ok(
        problems.every((each) => each.startsWith(`descriptors: library.v1.LibraryService/${method}: `)),
        problems.join("\n"),
      );
    });

  it("is refused where requests or both ways are streams, bytes or not", () => {
    for (const method of ["GetBook", "PrintPage", "ReadBook"])
      assert.match(read(method, get("/v1/a"), { clientStreaming: true }).problems.join(), /takes a stream of requests/);
  });
});
