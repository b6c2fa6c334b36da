import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { constants, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { create, type DescFile, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { AppError, createHealth, createTracing, systemClock } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { explainRequest } from "../../pkg/gateway/src/explain/explain.ts";
import { checkGatewayDocument } from "../../pkg/gateway/src/check.ts";
import { parseGatewayDocument } from "../../pkg/gateway/src/config/document.ts";
import type { GatewayDocument } from "../../pkg/gateway/src/config/schema.ts";
import { codeOf } from "../../pkg/gateway/src/problem.ts";
import { openRoute, rawClient, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { createGrpcServer } from "../../pkg/transport/src/grpc/server.ts";
import { type RpcHandlers, rpcService } from "../../pkg/transport/src/rpc/service.ts";
import { testSettings } from "../../pkg/transport/src/testing/grpc.ts";
import { observe } from "../../pkg/transport/src/testing/http.ts";
import { file_library_v1_library, LibraryService } from "./gen/library/v1/library_pb.ts";

type Handlers = RpcHandlers<typeof LibraryService>;
type Grpc = NonNullable<GatewayDocument["routes"][number]["grpc"]>;

const folder = mkdtempSync(join(tmpdir(), "transcoding-"));
after(() => rmSync(folder, { recursive: true }));
const descriptors = join(folder, "library.binpb");
writeFileSync(descriptors, setOf(file_library_v1_library));

/** As `buf build` writes it. */
function setOf(file: DescFile): Uint8Array {
  const files = new Map<string, DescFile>();
  const add = (each: DescFile): void => {
    if (files.has(each.name)) return;
    for (const needed of each.dependencies) add(needed);
    files.set(each.name, each);
  };
  add(file);
  return toBinary(
    FileDescriptorSetSchema,
    create(FileDescriptorSetSchema, { file: [...files.values()].map(({ proto }) => proto) }),
  );
}

const handlers: Handlers = {
  getBook: ({ name, isbn }) => ({ book: { name, copies: isbn } }),
  listBooks: (asked) => ({ asked }),
  createBook: ({ parent, book, bookId }) => ({ ...(book && { book: { ...book, name: `${parent}/books/${bookId}` } }) }),
  updateBook: ({ book }) => ({ ...(book && { book }) }),
  reserveBook: ({ name, reader }) => ({ name, reader }),
  async *readBook({ pages }) {
    for (let page = 1; page <= pages; page++) yield { page, text: `page ${page}` };
  },
  keepNote: ({ note }) => ({ ...(note && { note }) }),
  setCover: ({ isbn, cover, alt }) => ({
    ...(cover && { cover: { ...cover, contentType: [cover.contentType, alt, isbn].join(";") } }),
  }),
  printPage: (body) => body,
  async *scanBook() {
    yield { contentType: "image/x-scan", data: Buffer.from([0, 255]) };
    yield { contentType: "text/html", data: Buffer.from([10]) };
  },
  findEdition: (asked) => ({ asked }),
  countBooks: () => ({}),
};

interface Running extends AsyncDisposable {
  readonly gateway: TestGateway;
  ask(method: string, path: string, body?: string | Buffer, headers?: Record<string, string>): Promise<Answer>;
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function start(
  own: Partial<Handlers> = {},
  { grpc = {}, ...route }: Omit<NonNullable<Parameters<typeof openRoute>[0]>, "grpc"> & { grpc?: Partial<Grpc> } = {},
): Promise<Running> {
  const clock = systemClock;
  const health = createHealth({ clock });
  health.setPhase("ready");
  const { log, errors, metrics } = await observe(clock);
  const server = await createGrpcServer({
    settings: testSettings,
    log,
    errors,
    metrics,
    tracing: createTracing(),
    clock,
    health,
    services: [rpcService(LibraryService, { ...handlers, ...own })],
  });
  await server.listen();
  const gateway = await startGateway({ document: documentOf({ ...route, grpc: { descriptors, ...grpc } }) });
  await gateway.registry.register({ service: "s", id: "one", host: "127.0.0.1", ports: { grpc: server.port } });
  return {
    gateway,
    ask: async (method, path, body, headers = {}) => {
      const json = body === undefined ? {} : { "content-type": "application/json" };
      const reply = await fetch(`${gateway.url}${path}`, {
        method,
        headers: { ...json, ...headers },
        ...(body !== undefined && { body }),
      });
      return { status: reply.status, headers: reply.headers, text: await reply.text() };
    },
    [Symbol.asyncDispose]: async () => {
      await gateway[Symbol.asyncDispose]();
      await server.close();
    },
  };
}

function documentOf(route: Parameters<typeof openRoute>[0]): GatewayDocument {
  return { services: { s: { protocol: "http2" } }, routes: [openRoute({ match: { path: "/v1/**" }, ...route })] };
}

/** What problem+json says: its status, the last word of its code, and its detail. */
function problemOf({ status, text }: Answer): unknown[] {
  const { code, detail }: { code?: unknown; detail?: unknown } = JSON.parse(text);
  return [status, code, detail];
}

describe("requests of HTTP and JSON to a service of gRPC", async () => {
  const running = await start();
  after(() => running[Symbol.asyncDispose]());

  const sequel = { title: "Two", copies: "9007199254740993" };
  const right: [what: string, request: [string, string, string?], answer: unknown][] = [
    ["a name of several parts", ["GET", "/v1/shelves/a/books/b"], { book: { name: "shelves/a/books/b" } }],
    ["another binding", ["GET", "/v1/books/9007199254740993"], { book: { copies: "9007199254740993" } }],
    ["escapes in the path", ["GET", "/v1/shelves/a%20b/books/%C3%BC"], { book: { name: "shelves/a b/books/ü" } }],
    [
      "parameters of every kind",
      [
        "GET",
        "/v1/shelves/1/books?page_size=5&authorNames=A&author_names=B+C&genre=GENRE_NOVEL&filter.title=x&filter.or.title=y&since=2026-01-02T03:04:05Z&within=1.5s&mask=a,bC&lent=true&min_copies=9007199254740993&token=_-8%3D&maxPrice=NaN&genres=1&genres=GENRE_POEMS&all=true",
      ],
      {
        asked: {
          parent: "shelves/1",
          pageSize: 5,
          authorNames: ["A", "B C"],
          genre: "GENRE_NOVEL",
          filter: { title: "x", or: { title: "y" } },
          since: "2026-01-02T03:04:05Z",
          within: "1.500s",
          mask: "a,bC",
          lent: true,
          minCopies: "9007199254740993",
          token: "/+8=",
          maxPrice: "NaN",
          genres: ["GENRE_NOVEL", "GENRE_POEMS"],
          all: true,
        },
      },
    ],
    [
      "a field as the body, another in the query, and a field of the reply",
      ["POST", "/v1/shelves/1/books?book_id=7", JSON.stringify({ title: "One", sequel, ratings: { good: 3 } })],
      { name: "shelves/1/books/7", title: "One", sequel, ratings: { good: 3 } },
    ],
    [
      "numbers of 64 bits as numbers",
      ["POST", "/v1/shelves/1/books?bookId=7", '{"copies": 9007199254740993, "price": 12345678901234567890}'],
      { name: "shelves/1/books/7", copies: "9007199254740993", price: 12345678901234567000 },
    ],
    [
      "the path, whatever the body says of it",
      [
        "PATCH",
        "/v1/shelves/1/books/2",
        '{"book": {"name": "shelves/9/books/9", "title": "T"}, "updateMask": "title"}',
      ],
      { book: { name: "shelves/1/books/2", title: "T" } },
    ],
    [
      "a verb behind the rest of a path",
      ["POST", "/v1/shelves/a/books/b:reserve", '{"reader":"me"}'],
      { name: "shelves/a/books/b", reader: "me" },
    ],
    ["no body where one could be", ["POST", "/v1/shelves/x:reserve"], { name: "shelves/x" }],
    ["JSON of any form", ["PUT", "/v1/note", '{"a":[1,"x",null,{"b":true}]}'], { a: [1, "x", null, { b: true }] }],
  ];
  for (const [what, [method, path, body], expected] of right) {
    it(`reach it with ${what}`, async () => {
      const answer = await running.ask(method, path, body);
      assert.equal(answer.status, 200, answer.text);
      assert.deepEqual(JSON.parse(answer.text), expected);
      assert.equal(answer.headers.get("content-type"), "application/json");
    });
  }

  it("answer HEAD with the head of GET", async () => {
    const { status, headers, text } = await running.ask("HEAD", "/v1/books/7");
    assert.deepEqual(
      [status, headers.get("content-type"), headers.get("content-length"), text],
      [200, "application/json", "23", ""],
    );
  });

  const deep = `${'{"sequel":'.repeat(70)}{}${"}".repeat(70)}`;
  const wrong: [what: string, request: [string, string, (string | Buffer)?], status: number, detail: RegExp][] = [
    ["an unknown field", ["POST", "/v1/shelves/1/books", '{"tilte":"x"}'], 400, /Book.*"tilte" is unknown/],
    [
      "a field twice",
      ["PATCH", "/v1/shelves/1/books/2", '{"updateMask":"a","update_mask":"b"}'],
      400,
      /update_mask.*multiple/,
    ],
    ["a wrong type", ["POST", "/v1/shelves/1/books", '{"title":1}'], 400, /title.*expected string/],
    ["a number that is none", ["GET", "/v1/books/seven"], 400, /isbn/],
    ["a number that is too large", ["GET", "/v1/shelves/1/books?page_size=3000000000"], 400, /page_size.*out of range/],
    ["NaN as JSON does not know it", ["POST", "/v1/shelves/1/books", '{"price":NaN}'], 400, /not JSON/],
    ["an unknown value of an enum", ["GET", "/v1/shelves/1/books?genre=OPERA"], 400, /OPERA/],
    ["a time that is none", ["GET", "/v1/shelves/1/books?since=now"], 400, /Timestamp/],
    ["an unknown parameter", ["GET", "/v1/shelves/1/books?pages=1"], 400, /parameter "pages" is unknown/],
    ["a parameter twice", ["GET", "/v1/shelves/1/books?page_size=1&pageSize=2"], 400, /given twice/],
    ["a parameter that is in the path", ["GET", "/v1/shelves/1/books?parent=shelves/2"], 400, /in the path already/],
    ["a parameter that is a message", ["GET", "/v1/shelves/1/books?filter=x"], 400, /no single value/],
    ["a parameter that is no UTF-8", ["GET", "/v1/shelves/1/books?parent=%ff"], 400, /not UTF-8/],
    ["a parameter of the body", ["POST", "/v1/shelves/1/books?book.title=x", "{}"], 400, /belongs into the body/],
    [
      "parameters beside a body that is all",
      ["PATCH", "/v1/shelves/1/books/2?update_mask=a", "{}"],
      400,
      /from its path and its body/,
    ],
    [
      "a body that is not UTF-8",
      ["POST", "/v1/shelves/1/books", Buffer.from('{"title":"\xff"}', "latin1")],
      400,
      /not UTF-8/,
    ],
    ["half a body of JSON", ["POST", "/v1/shelves/1/books", '{"title":"x"'], 400, /not JSON/],
    ["a list for a body", ["PATCH", "/v1/shelves/1/books/2", "[]"], 400, /no JSON object/],
    ["a body that is too deep", ["POST", "/v1/shelves/1/books", deep], 400, /deeper than 64/],
    ["lists without end", ["PUT", "/v1/note", "[".repeat(100_000)], 400, /deeper than 64/],
    ["digits that JSON of any form would lose", ["PUT", "/v1/note", "9007199254740993"], 400, /write it as text/],
    ["a body that is not taken", ["DELETE", "/v1/books/7", "{}"], 405, /method/],
  ];
  for (const [what, [method, path, body], status, detail] of wrong) {
    it(`are refused with ${what}`, async () => {
      const [got, code, text] = problemOf(await running.ask(method, path, body));
      assert.equal(got, status);
      assert.equal(code, codeOf(status === 405 ? "method_not_allowed" : "message_invalid"));
      assert.match(String(text), detail);
    });
  }

  it("are refused with 405 and what is allowed, with 404 where no annotation leads, and with 415 for another type", async () => {
    const answer = await running.ask("DELETE", "/v1/shelves/1/books");
    assert.deepEqual([answer.status, answer.headers.get("allow")], [405, "GET, HEAD, POST"]);
    assert.equal((await running.ask("GET", "/v1/nothing")).status, 404);
    for (const headers of [{ "content-type": "text/plain" }, { "content-encoding": "gzip" }])
      assert.deepEqual(problemOf(await running.ask("PUT", "/v1/note", "1", headers)).slice(0, 2), [
        415,
        codeOf("media_unsupported"),
      ]);
  });

  it("are given on as a whole: of half a body nothing reaches the service", async () => {
    const client = await rawClient(running.gateway.gateway.port ?? 0);
    client.send(
      'POST /v1/shelves/1/books HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"title":',
    );
    client.socket.end();
    await client.toEnd();
    const line = await until(() =>
      running.gateway.log
        .withMessage("request")
        .find(({ reason }) => reason === "client_gone" || reason === "malformed_request"),
    );
    assert.equal(line.instance, undefined);
  });

  it("may come in chunks, and be awaited with 100-continue", async () => {
    const reply = await new Promise<[number | undefined, string]>((resolve, reject) => {
      const sent = httpRequest(
        `${running.gateway.url}/v1/note`,
        { method: "PUT", headers: { expect: "100-continue" } },
        (response) => {
          let text = "";
          response.on("data", (chunk) => (text += String(chunk))).on("end", () => resolve([response.statusCode, text]));
        },
      );
      sent.once("continue", () => {
        sent.write('{"a"');
        sent.end(":1}");
      });
      sent.on("error", reject).flushHeaders();
    });
    assert.deepEqual(reply, [200, '{"a":1}']);
  });

  it("get a line for each message of a stream, and none of none", async () => {
    const { text, headers } = await running.ask("GET", "/v1/books/7:read?pages=2");
    assert.equal(text, '{"page":1,"text":"page 1"}\n{"page":2,"text":"page 2"}\n');
    assert.equal(headers.get("content-type"), "application/x-ndjson");
    assert.deepEqual([(await running.ask("GET", "/v1/books/7:read")).text], [""]);
  });
});

describe("bodies that are no JSON", async () => {
  const running = await start({}, { grpc: { maxRequestBytes: 70_000 } });
  after(() => running[Symbol.asyncDispose]());
  const send = async (method: string, path: string, body?: Uint8Array<ArrayBuffer> | string, headers = {}) => {
    const reply = await fetch(`${running.gateway.url}${path}`, {
      method,
      headers,
      ...(body !== undefined && { body }),
    });
    return [reply.status, reply.headers.get("content-type"), Buffer.from(await reply.arrayBuffer())] as const;
  };
  const bytes = Uint8Array.from({ length: 66_000 }, (_, at) => at % 256);

  it("go to the service with their type, byte by byte, and come back so", async () => {
    const [status, type, data] = await send("POST", "/v1/pages", bytes, { "content-type": 'image/x-page; a="b"' });
    assert.deepEqual([status, type, data.equals(bytes)], [200, 'image/x-page; a="b"', true]);
    // no JSON at all, though it is called that
    assert.deepEqual(await send("POST", "/v1/pages", "{", { "content-type": "application/json" }), [
      200,
      "application/json",
      Buffer.from("{"),
    ]);
  });

  it("are one field of a request beside those of its path and its query, and one of a reply", async () => {
    const answer = await send("PUT", "/v1/books/7/cover?alt=moon", bytes, { "content-type": "image/png" });
    assert.deepEqual([answer[0], answer[1], answer[2].equals(bytes)], [200, "image/png;moon;7", true]);
    assert.deepEqual(await send("PUT", "/v1/books/7/cover", "", { "content-type": "image/png" }), [
      200,
      "image/png;;7",
      Buffer.alloc(0),
    ]);
  });

  it("are absent where there are neither bytes nor a type, and bytes of no known type where there is none", async () => {
    assert.deepEqual(await send("PUT", "/v1/books/7/cover"), [200, "application/octet-stream", Buffer.alloc(0)]);
    assert.deepEqual(await send("POST", "/v1/pages", bytes.slice(0, 2)), [
      200,
      "application/octet-stream",
      Buffer.from([0, 1]),
    ]);
  });

  it("follow one another as they come, all of the type of the first", async () => {
    assert.deepEqual(await send("GET", "/v1/books/7/scan"), [200, "image/x-scan", Buffer.from([0, 255, 10])]);
  });

  it("are refused where they are compressed, too large, or have parameters that belong into them", async () => {
    const coded = await running.ask("POST", "/v1/pages", "x", { "content-encoding": "gzip" });
    assert.deepEqual(problemOf(coded).slice(0, 2), [415, codeOf("media_unsupported")]);
    const large = await running.ask("POST", "/v1/pages", "x".repeat(70_001));
    assert.deepEqual(problemOf(large).slice(0, 2), [413, codeOf("body_too_large")]);
    for (const [method, path] of [
      ["PUT", "/v1/books/7/cover?cover.data=eA"],
      ["PUT", "/v1/books/7/cover?isbn=8"],
      ["POST", "/v1/pages?content_type=x"],
    ] as const)
      assert.deepEqual(problemOf(await running.ask(method, path, "x")).slice(0, 2), [400, codeOf("message_invalid")]);
  });

  it("have no type that could end its line, and break off as other streams do", async () => {
    await using wrong = await start({
      printPage: () => ({ contentType: "text/plain\r\nset-cookie: a=b", data: Buffer.from("x") }),
      async *scanBook({ isbn }) {
        if (isbn === 1n) yield { contentType: "text/\u{1f600}" };
        if (isbn === 2n) yield { data: Buffer.from("x") };
        throw new AppError("ERR_BOOK_LOST", "not_found", "it is lost");
      },
    });
    const page = await wrong.ask("POST", "/v1/pages", "x");
    assert.deepEqual(problemOf(page).slice(0, 2), [502, codeOf("upstream_invalid")]);
    assert.equal(page.headers.get("set-cookie"), null);
    assert.equal((await wrong.ask("GET", "/v1/books/1/scan")).status, 502);
    await assert.rejects(wrong.ask("GET", "/v1/books/2/scan"), TypeError);
    assert.deepEqual(problemOf(await wrong.ask("GET", "/v1/books/3/scan")), [404, "ERR_BOOK_LOST", "it is lost"]);
  });
});

describe("values in a path and a query", async () => {
  const running = await start();
  after(() => running[Symbol.asyncDispose]());
  const path = "/v1/editions/GENRE_POEMS/2026-01-02T03:04:05.5Z/_-8/true";
  const inPath = { genre: "GENRE_POEMS", printedAt: "2026-01-02T03:04:05.500Z", token: "/+8=", first: true };
  const right: [what: string, query: string, expected: object][] = [
    ["none", "", {}],
    ["an optional one that is 0, and so is there", "page=0", { page: 0 }],
    [
      "repeated wrappers and times",
      "copies=9007199254740993&copies=-1&seen_at=1970-01-01T00:00:00Z",
      { copies: ["9007199254740993", "-1"], seenAt: ["1970-01-01T00:00:00Z"] },
    ],
    ["a wrapper of text that is empty", "title=", { title: "" }],
    [
      "bytes in both alphabets, with and without their end",
      "marks=%2F%2B8%3D&marks=_-8&marks=",
      { marks: ["/+8=", "/+8=", ""] },
    ],
    [
      "repeated ones within a message",
      "edition.languages=de&edition.languages=en",
      { edition: { languages: ["de", "en"] } },
    ],
    [
      "messages within messages",
      "edition.mask=a.b,cD&edition.book.sequel.title=x&edition.book.printedAt=2026-01-02T03:04:05%2B01:00",
      { edition: { mask: "a.b,cD", book: { sequel: { title: "x" }, printedAt: "2026-01-02T02:04:05Z" } } },
    ],
    ["one of several", "shelf_number=18446744073709551615", { shelfNumber: "18446744073709551615" }],
    ["an enum by its number", "edition.book.genre=1", { edition: { book: { genre: "GENRE_NOVEL" } } }],
    [
      "a number as JSON may write it",
      "edition.book.price=-1.5e2&page=1e2",
      { edition: { book: { price: -150 } }, page: 100 },
    ],
    [
      "a body of bytes, as JSON writes it",
      "note.data=eA&note.content_type=a/b",
      { note: { data: "eA==", contentType: "a/b" } },
    ],
  ];
  for (const [what, query, expected] of right)
    it(`are taken: ${what}`, async () => {
      const answer = await running.ask("GET", `${path}?${query}`);
      assert.deepEqual(JSON.parse(answer.text), { asked: { ...inPath, ...expected } });
    });

  const wrong: [what: string, query: string, detail: RegExp][] = [
    ["two of which there can be one", "shelf_name=a&shelf_number=1", /oneof/],
    ["a map", "labels.a=b", /labels\.a/],
    ["JSON of any form", "more=%7B%7D", /"more" is no single value/],
    ["a message", "edition.book=x", /no single value/],
    ["a field of what is one value", "seen_at.seconds=1", /unknown/],
    ["a plus sign that means a space in base64", "marks=/+8=", /marks: expected base64, with - or %2B for \+/],
    ["base64 with something in between", "marks=a%3Db%3D", /expected base64/],
    ["a number in another base", "page=0x10", /page: expected a number, not "0x10"/],
    ["a number with a space", "copies=+5", /copies: expected a number/],
    ["no number", "page=", /page: expected a number/],
    ["half a number", "page=1.5", /page/],
    ["a number out of range", "shelf_number=18446744073709551616", /shelf_number/],
    ["yes for true", "edition.book.lent=yes", /unknown/],
    ["a prototype", "__proto__.first=true", /unknown/],
    ["a field by another spelling", "Page=1", /unknown/],
    ["an unknown number of an enum that is none", "edition.book.genre=1.0", /1\.0/],
    ["paths as the contract writes them", "edition.mask=a_b", /lowerCamelCase/],
  ];
  for (const [what, query, detail] of wrong)
    it(`are refused: ${what}`, async () => {
      const [status, code, text] = problemOf(await running.ask("GET", `${path}?${query}`));
      assert.deepEqual([status, code], [400, codeOf("message_invalid")]);
      assert.match(String(text), detail);
    });

  for (const own of [
    "OPERA/2026-01-02T03:04:05Z/_-8/true",
    "1/now/_-8/true",
    "1/2026-01-02T03:04:05Z/_%208/true",
    "1/2026-01-02T03:04:05Z/_-8/1",
  ])
    it(`are refused in a path: ${own}`, async () =>
      assert.deepEqual(problemOf(await running.ask("GET", `/v1/editions/${own}`)).slice(0, 2), [
        400,
        codeOf("message_invalid"),
      ]));

  it("have one spelling where they are numbers", async () => {
    for (const isbn of ["0x10", "%2016", "+16"])
      assert.equal((await running.ask("GET", `/v1/books/${isbn}`)).status, 400, isbn);
    assert.equal((await running.ask("GET", "/v1/books/16")).status, 200);
  });

  it("come back with their defaults where a route asks for those", async () => {
    await using full = await start({}, { grpc: { emitDefaults: true, methods: ["GetBook", "CreateBook"] } });
    const answer = await full.ask("GET", "/v1/shelves/a/books/b");
    assert.deepEqual(JSON.parse(answer.text), {
      book: {
        name: "shelves/a/books/b",
        title: "",
        genre: "GENRE_UNSPECIFIED",
        copies: "0",
        price: 0,
        cover: "",
        authorNames: [],
        ratings: {},
      },
    });
    // a field of the reply that is not there: null, and what it holds is not made up
    assert.equal((await full.ask("POST", "/v1/shelves/1/books")).text, "null");
  });
});

describe("errors of a service of gRPC behind requests of HTTP", () => {
  it("keep status, code, text, metadata and whether to try again", async () => {
    await using running = await start({
      getBook: () => {
        throw new AppError("ERR_BOOK_LENT", "failed_precondition", "it is lent, ü", { metadata: { until: "9" } });
      },
      createBook: () => {
        throw new AppError("ERR_SHELF_FULL", "resource_exhausted", "no room", { retryable: true });
      },
      listBooks: () => {
        throw new AppError("ERR_SECRET", "internal", "the password is x");
      },
    });
    const lent = await running.ask("GET", "/v1/books/7");
    assert.equal(lent.headers.get("content-type"), "application/problem+json");
    const { traceId, ...problem }: Record<string, unknown> = JSON.parse(lent.text);
    assert.equal(typeof traceId, "string");
    assert.deepEqual(problem, {
      type: "about:blank",
      title: "Bad Request",
      status: 400,
      code: "ERR_BOOK_LENT",
      detail: "it is lent, ü",
      metadata: { until: "9" },
    });
    const full = await running.ask("POST", "/v1/shelves/1/books", "{}");
    assert.deepEqual(problemOf(full), [429, "ERR_SHELF_FULL", "no room"]);
    assert.match(full.text, /"retryable":true/);
    const secret = await running.ask("GET", "/v1/shelves/1/books");
    assert.deepEqual(problemOf(secret).slice(0, 2), [500, "ERR_INTERNAL"]);
    assert.doesNotMatch(secret.text, /password|SECRET/);
    assert.deepEqual(
      (await running.gateway.lines(3)).map(({ status, reason }) => [status, reason]),
      [
        [400, undefined],
        [429, undefined],
        [500, undefined],
      ],
    );
  });

  it("are the status before the first message of a stream, and its broken end behind that", async () => {
    await using running = await start({
      async *readBook({ pages }) {
        if (pages > 0) yield { page: 1 };
        throw new AppError("ERR_BOOK_LOST", "not_found", "it is lost");
      },
    });
    assert.deepEqual(problemOf(await running.ask("GET", "/v1/books/7:read")), [404, "ERR_BOOK_LOST", "it is lost"]);
    await assert.rejects(running.ask("GET", "/v1/books/7:read?pages=1"), TypeError);
    const line = (await running.gateway.lines(2)).at(-1);
    assert.deepEqual([line?.status, line?.reason], [502, "reply_cut_off"]);
  });

  it("come from what a route retries: 503 stands for unavailable", async () => {
    let asked = 0;
    const flaky: Handlers["getBook"] = () => {
      if (++asked === 1) throw new AppError("ERR_BUSY", "unavailable", "busy");
      return { book: { name: "x" } };
    };
    await using running = await start({ getBook: flaky }, { retries: { attempts: 2, on: [503] } });
    const { status } = await running.ask("GET", "/v1/books/7");
    assert.deepEqual([status, asked], [200, 2]);
  });

  it("leave nothing under way at an instance that is no service of gRPC: its stream is ended", async () => {
    let endedBy: number | undefined;
    const server = createHttp2Server().listen(0, "127.0.0.1");
    server.on("stream", (stream: ServerHttp2Stream) => {
      stream.on("error", () => undefined).on("close", () => (endedBy = stream.rstCode));
      stream.respond({ ":status": 503 });
      stream.write("a page that never ends");
    });
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    const { port } = address;
    await using gateway = await startGateway({ document: documentOf({ grpc: { descriptors } }) });
    await gateway.registry.register({ service: "s", id: "one", host: "127.0.0.1", ports: { grpc: port } });
    const reply = await fetch(`${gateway.url}/v1/books/7`);
    assert.equal(reply.status, 503);
    await until(() => endedBy === constants.NGHTTP2_CANCEL);
    server.close();
  });

  it("are the gateway's own where a message is too large, on the way there and back", async () => {
    await using running = await start({}, { grpc: { maxRequestBytes: 100, maxReplyBytes: 100 } });
    const large = JSON.stringify("x".repeat(200));
    assert.deepEqual(problemOf(await running.ask("PUT", "/v1/note", large)).slice(0, 2), [
      413,
      "ERR_GATEWAY_BODY_TOO_LARGE",
    ]);
    const name = "x".repeat(120);
    const answer = await running.ask("GET", `/v1/shelves/${name}/books/b`);
    assert.deepEqual(problemOf(answer).slice(0, 2), [502, "ERR_GATEWAY_UPSTREAM_INVALID"]);
  });
});

describe("a call that stands for a request of HTTP", () => {
  it("is told how long it has, and ends when the client's time is up", async () => {
    const ended = Promise.withResolvers<number>();
    await using running = await start(
      {
        getBook: async (_request, call) => {
          const leftMs = call.deadlineAtMs - Date.now();
          await new Promise((resolve) => call.signal.addEventListener("abort", resolve, { once: true }));
          ended.resolve(leftMs);
          return {};
        },
      },
      { timeoutMs: 150 },
    );
    // Service and gateway know the same deadline: either may be the one that says so.
    const [status, code] = problemOf(await running.ask("GET", "/v1/books/7"));
    assert.equal(status, 504);
    assert.match(String(code), /DEADLINE_EXCEEDED$/);
    assert.ok((await ended.promise) <= 150);
  });

  it("is cancelled when its client leaves", async () => {
    const began = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    await using running = await start({
      async *readBook(_request, call) {
        yield { page: 1 };
        began.resolve();
        await new Promise((resolve) => call.signal.addEventListener("abort", resolve, { once: true }));
        ended.resolve();
      },
    });
    const leaving = new AbortController();
    const reply = await fetch(`${running.gateway.url}/v1/books/7:read`, { signal: leaving.signal });
    await began.promise;
    leaving.abort();
    await ended.promise;
    assert.equal(reply.status, 200);
    assert.equal((await running.gateway.lastLine()).reason, "client_gone");
  });

  it("has the headers of its client but those of the body and of gRPC", async () => {
    let seen: unknown[] = [];
    await using running = await start({
      getBook: (_request, call) => {
        seen = ["x-shop", "accept", "grpc-accept-encoding", "content-type"].map((name) => call.header(name));
        call.setReplyHeader("x-shelf", "3");
        return {};
      },
    });
    const headers = { "x-shop": "1", accept: "text/html", "grpc-accept-encoding": "gzip", "grpc-timeout": "1n" };
    const answer = await running.ask("GET", "/v1/books/7", undefined, headers);
    assert.deepEqual([answer.status, answer.headers.get("x-shelf"), answer.text], [200, "3", "{}"]);
    assert.deepEqual(seen, ["1", undefined, undefined, "application/grpc"]);
  });
});

describe("a document with a route that translates", () => {
  const faultsOf = (
    grpc: Partial<Grpc>,
    more: Partial<Parameters<typeof openRoute>[0]> = {},
    services = {},
  ): string => {
    const document = documentOf({ grpc: { descriptors, ...grpc }, ...more });
    try {
      parseGatewayDocument({ ...document, services: { s: { protocol: "http2" }, ...services } });
    } catch (error) {
      return error instanceof Error ? error.message : "";
    }
    return "";
  };
  const noSet = join(folder, "no-set.binpb");
  writeFileSync(noSet, "not a set");
  const library = "library.v1.LibraryService";
  const faults: [what: string, fault: string, expected: RegExp][] = [
    [
      "a file that is not there",
      faultsOf({ descriptors: "gone.binpb" }),
      /grpc\.descriptors: gone\.binpb cannot be read: ENOENT/,
    ],
    ["a file that is no set", faultsOf({ descriptors: noSet }), /grpc\.descriptors: it is no FileDescriptorSet/],
    [
      "a service that is not in it",
      faultsOf({ services: ["library.v1.LibraryServise"] }),
      /services\.0: there is no service.*LibraryService/,
    ],
    ["a method that is not in it", faultsOf({ methods: ["GetBok"] }), /methods\.0: there is no method GetBok.*GetBook/],
    ["a method without an annotation", faultsOf({ methods: ["CountBooks"] }), /CountBooks: it has no annotation/],
    [
      "paths that are not below its own",
      faultsOf({}, { match: { path: "/v2/**" } }),
      /match\.path: no path of the annotations is below \/v2/,
    ],
    ["a rewrite", faultsOf({}, { rewrite: { prefix: "/x" } }), /rewrite: the service gets the path of a method/],
    ["a service over HTTP/1.1", faultsOf({}, {}, { s: {} }), /grpc: gRPC needs `protocol: http2` under services\.s/],
  ];
  for (const [what, fault, expected] of faults)
    it(`is refused with ${what}`, () => {
      assert.match(fault, expected);
      assert.match(fault, /^\d faults? in/);
    });

  it("is refused where two routes bind one request, or one for everybody leads to what another guards", () => {
    const grpc = { descriptors, services: [library] };
    const guarded = { jwt: { own: { issuer: "https://i.example", audiences: ["a"], jwks: { file: "keys.json" } } } };
    const twice = {
      ...documentOf({ grpc }),
      routes: [
        openRoute({ match: { path: "/v1/**" }, grpc }),
        openRoute({ name: "two", match: { path: "/v1/**" }, grpc }),
      ],
    };
    assert.throws(
      () => parseGatewayDocument(twice),
      /\/v1\/\{name=shelves\/\*\/books\/\*\}: route 1 \(all\) takes the same requests/,
    );
    const open = openRoute({ match: { path: "/v1/books/**" }, grpc: { ...grpc, methods: ["GetBook"] } });
    const { anonymous: _, ...closed } = openRoute({
      name: "closed",
      match: { path: "/v1/shelves/**" },
      grpc: { ...grpc, methods: ["GetBook"] },
    });
    assert.throws(
      () => parseGatewayDocument({ ...documentOf({}), ...guarded, routes: [open, { ...closed, auth: {} }] }),
      /by route all, which is for everybody, to \/library\.v1\.LibraryService\/GetBook/,
    );
  });

  it("is explained with the method that is called, and checked with warnings of what no request reaches", () => {
    const document = documentOf({ grpc: { descriptors }, match: { path: "/v1/books/**" } });
    const { outcome, route, forwarded } = explainRequest(parseGatewayDocument(document), {
      method: "GET",
      url: "/v1/books/7:read?pages=2",
      nowMs: 0,
    });
    assert.deepEqual(
      [outcome.kind, route?.pattern, forwarded?.target],
      ["forward", "/v1/books/{isbn}:read", `/${library}/ReadBook`],
    );
    const file = join(folder, "gateway.json");
    writeFileSync(file, JSON.stringify(document));
    const { warnings, faults: found } = checkGatewayDocument(file);
    assert.deepEqual(found, []);
    assert.ok(warnings.some(({ problem }) => problem.startsWith(`${library}/CountBooks has no annotation`)));
    assert.ok(warnings.some(({ problem }) => problem.startsWith("PUT /v1/note of")));
  });

  it("goes by the file as it is when the document is read again", async () => {
    const file = join(folder, "changing.binpb");
    writeFileSync(file, setOf(file_library_v1_library));
    await using running = await start({}, { grpc: { descriptors: file } });
    const document = documentOf({ grpc: { descriptors: file } });
    assert.equal((await running.gateway.gateway.reload(document)).any, false);
    const set = setOf(file_library_v1_library);
    writeFileSync(file, Buffer.from(Buffer.from(set).toString("latin1").replace("/v1/note", "/v1/memo"), "latin1"));
    assert.deepEqual((await running.gateway.gateway.reload(document)).changed, ["all"]);
    assert.equal((await running.ask("PUT", "/v1/memo", "1")).status, 200);
    assert.equal((await running.ask("PUT", "/v1/note", "1")).status, 404);
    rmSync(file);
    await assert.rejects(running.gateway.gateway.reload(document), { code: "ERR_GATEWAY_CONFIG" });
    assert.equal((await running.ask("PUT", "/v1/memo", "1")).status, 200);
  });
});
