import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InFlight, type InFlightLink } from "./in-flight.ts";

class Link implements InFlightLink<Link> {
  before: Link | undefined;
  after: Link | undefined;
}

function five() {
  const inFlight = new InFlight<Link>();
  const links = Array.from({ length: 5 }, () => new Link());
  for (const link of links) inFlight.add(link);
  return { inFlight, links };
}

describe("InFlight", () => {
  it("has those that came and have not gone, in their order, wherever the others stood", () => {
    const { inFlight, links } = five();
    for (const at of [0, 2, 4]) inFlight.delete(links[at] ?? new Link());
    assert.deepEqual(
      [...inFlight].map((link) => links.indexOf(link)),
      [1, 3],
    );
    assert.equal(inFlight.size, 2);
    const [, , third = new Link()] = links;
    inFlight.add(third); // it came back
    assert.deepEqual(
      [...inFlight].map((link) => links.indexOf(link)),
      [1, 3, 2],
    );
    for (const at of [1, 2, 3]) inFlight.delete(links[at] ?? new Link());
    assert.deepEqual([...inFlight, inFlight.size], [0]);
  });

  it("lets go of one twice, or of one that never came, and of nobody else", () => {
    const { inFlight, links } = five();
    const [first = new Link(), second = new Link()] = links;
    for (const link of [second, second, first, first, new Link()]) inFlight.delete(link);
    assert.deepEqual(
      [...inFlight].map((link) => links.indexOf(link)),
      [2, 3, 4],
    );
    assert.equal(inFlight.size, 3);
  });

  it("is gone through whoever goes meanwhile", () => {
    const { inFlight, links } = five();
    const seen: number[] = [];
    for (const link of inFlight) {
      seen.push(links.indexOf(link));
      for (const each of links) inFlight.delete(each);
    }
    assert.deepEqual(seen, [0, 1, 2, 3, 4]);
    assert.equal(inFlight.size, 0);
  });
});
