// Writers with books of their own: what a service has acknowledged, refused and left open, to be held against its database.
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { type Database, sql } from "@plinth/database";
import { ask } from "./http.ts";
import { asRecord } from "./json.ts";
import { until } from "./until.ts";

/** By one statement; by a transaction of two; by one that meets others and is run again. */
const ways = ["alone", "paired", "contended"] as const;
export type Way = (typeof ways)[number];

/** Between two writes of one writer. */
const pauseMs = 20;
const moreLimitMs = 60_000;

/** Codes that say that nothing was written. */
const refusals =
  /^(409|503|504) ERR_DATABASE_(ACQUIRE_TIMEOUT|CANCELLED|CONFLICT|CONNECTION_LOST|OVERLOADED|TIMEOUT|UNAVAILABLE)$/;
/** What leaves open whether something was: of an outcome that is unknown, callers are told as of any fault within a service. */
const open = /^(500 ERR_INTERNAL|504 ERR_DEADLINE_EXCEEDED)$/;

const everyAnswer = "every request has an answer, with a code that says what became of it";

export interface Books extends AsyncDisposable {
  untilAcknowledged(more: number): Promise<void>;
  untilAnswered(more: number): Promise<void>;
  /** How often each answer came: `200`, `503 ERR_DATABASE_UNAVAILABLE`. */
  answers(): Readonly<Record<string, number>>;
  /** How many writes of a way were left open: `contended`. */
  leftOpen(way: Way): number;
  /** The longest that any writer has waited for an answer since this was asked last, in milliseconds. */
  slowestMs(): number;
  /**
   * Holds the database against the books: every acknowledged write is there, none twice, none that was refused, each transaction as
   * a whole, and every answer was one that says which it is.
   */
  balance(db: Database): Promise<void>;
  /** Each writer ends after its next answer. */
  stop(): Promise<void>;
}

/** @param url - Takes `{ id, way }` as an entry; answers 200 when it is written. */
export function keepBooks(url: string, writers = 6): Books {
  const acknowledged = new Set<string>();
  const refused = new Map<string, string>();
  const leftOpen: Way[] = [];
  const unanswered: string[] = [];
  const counts: Record<string, number> = {};
  let answered = 0;
  let slowestMs = 0;
  const stopping = new AbortController();

  const writeOne = async (id: string, way: Way): Promise<void> => {
    const startedAtMs = performance.now();
    const reply = await ask(url, { body: { id, way } });
    slowestMs = Math.max(slowestMs, performance.now() - startedAtMs);
    const answer = reply.status === 200 ? "200" : `${reply.status} ${String(asRecord(reply.json())["code"])}`;
    counts[answer] = (counts[answer] ?? 0) + 1;
    if (reply.status === 200) acknowledged.add(id);
    else if (refusals.test(answer)) refused.set(id, answer);
    else if (open.test(answer)) leftOpen.push(way);
    else unanswered.push(answer);
    answered++;
  };
  const write = async (writer: number): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn++) {
      const way = ways[(writer + turn) % ways.length] ?? ways[0];
      await writeOne(`${way}-${writer}-${turn}`, way).catch((error: unknown) => unanswered.push(String(error)));
      await delay(pauseMs);
    }
  };
  const ended = Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
  const stop = async (): Promise<void> => {
    stopping.abort();
    await ended;
  };
  const untilMore = (count: () => number, more: number, what: string): Promise<void> => {
    const wanted = count() + more;
    return until(
      () => {
        assert.deepEqual(unanswered, [], everyAnswer);
        return count() >= wanted;
      },
      () => `${more} more ${what}; the answers: ${JSON.stringify(counts)}`,
      moreLimitMs,
    );
  };
  return {
    untilAcknowledged: (more) => untilMore(() => acknowledged.size, more, "writes acknowledged"),
    untilAnswered: (more) => untilMore(() => answered, more, "answers"),
    answers: () => ({ ...counts }),
    leftOpen: (way) => leftOpen.filter((each) => each === way).length,
    slowestMs() {
      const seen = slowestMs;
      slowestMs = 0;
      return seen;
    },
    async balance(db) {
      const [mustBe, mayNotBe] = [[...acknowledged], [...refused]]; // as of before the database is asked
      const { rows } = await db.query(sql<Found>`select
        (select coalesce(json_agg(json_build_array(id, way)), '[]') from entries) as entries,
        (select json_object_agg(way, entries) from totals) as totals`);
      assert.ok(rows[0]);
      const { entries, totals } = rows[0];
      const there = new Set(entries.map(([id]) => id));
      assert.deepEqual(unanswered, [], everyAnswer);
      assert.deepEqual(
        mustBe.filter((id) => !there.has(id)),
        [],
        "acknowledged, and not there",
      );
      assert.deepEqual(
        mayNotBe.filter(([id]) => there.has(id)),
        [],
        "refused, and there",
      );
      assert.equal(there.size, entries.length, "none is there twice");
      for (const [way, total] of Object.entries(totals)) {
        assert.equal(entries.filter(([, each]) => each === way).length, total, `${way} transactions are whole`);
      }
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Found {
  readonly entries: readonly (readonly [id: string, way: string])[];
  readonly totals: Readonly<Record<string, number>>;
}
