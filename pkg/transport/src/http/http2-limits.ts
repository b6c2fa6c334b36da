import { constants, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Clock, Metrics } from "@plinth/kernel";
import { calm, FloodBudget, type FloodKind } from "../flood-budget.ts";

/** Ends connections that take more than their budget: GOAWAY with ENHANCE_YOUR_CALM, and all work for them is cancelled. */
export class Http2Limits {
  readonly #clock: Clock;
  readonly #count: (kind: FloodKind) => void;

  constructor({ clock, metrics }: { readonly clock: Clock; readonly metrics: Metrics }) {
    this.#clock = clock;
    const calmed = metrics.counter({
      name: "http_server_http2_floods_total",
      help: "HTTP/2 connections ended because they reset streams, or sent PING or SETTINGS, too often.",
      labels: ["kind"],
    });
    this.#count = (kind) => calmed.inc({ kind });
  }

  watch(session: ServerHttp2Session): void {
    const budget = new FloodBudget(this.#clock);
    const spend = (kind: FloodKind): void => {
      if (budget.spend(kind) || session.destroyed) return;
      this.#count(kind);
      calm(session, kind);
    };
    session.on("stream", (stream: ServerHttp2Stream) => {
      stream.once("close", () => {
        if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) spend("reset");
      });
    });
    session.on("ping", () => spend("ping"));
    session.on("remoteSettings", () => spend("settings"));
  }
}
