import { type ReplyHeaders, toClientTrailers } from "../headers/reply.ts";
import { isMisdirected, isUnavailable, toGrpcTrailers } from "../protocols/grpc.ts";
import type { Exchange } from "./exchange.ts";
import type { Route } from "./route.ts";

const misdirectedStatus = 421;

/** Another instance than the one meant is at the address, and has refused. */
export function isForAnother({ grpc }: Exchange, status: number, headers: ReplyHeaders): boolean {
  return status === misdirectedStatus || (grpc !== undefined && isMisdirected(headers));
}

/** The instance says that it cannot serve. */
export function hasFailed({ grpc }: Exchange, { pool }: Route, status: number, headers: ReplyHeaders): boolean {
  return pool.failingStatuses.has(status) || (grpc !== undefined && isUnavailable(headers));
}

/** What of the fields behind a reply's body reaches the client. */
export function trailersFor({ grpc }: Exchange, trailers: ReplyHeaders): [string, string][] {
  return grpc ? toGrpcTrailers(trailers) : toClientTrailers(trailers);
}
