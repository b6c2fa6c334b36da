// An issuer's key set in a process of its own, run as a program by the tests of what the gateway does when it fails: each fetch is told of on
// its standard output, and gets the next of the answers in the file ANSWERS, the last of them over and over.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { asRecord } from "../support/json.ts";

const { PORT = "", ANSWERS = "" } = process.env;
let before = "";
let turn = 0;

const server = createServer((_request, response) => {
  const file = readFileSync(ANSWERS, "utf8");
  turn = file === before ? turn + 1 : 0;
  before = file;
  const answers: unknown = JSON.parse(file);
  const { status, body } = asRecord(Array.isArray(answers) ? answers[Math.min(turn, answers.length - 1)] : undefined);
  process.stdout.write("fetched\n");
  response.writeHead(Number(status)).end(String(body));
});
server.listen(Number(PORT), "127.0.0.1", () => process.stdout.write("listening\n"));
