import { AppError, type ErrorReport } from "@plinth/kernel";

/** A report with something in every field. */
export function aReport(fields: Partial<ErrorReport> = {}): ErrorReport {
  return {
    error: new AppError("ERR_NOTES_FULL", "resource_exhausted", "no room for note 7", { metadata: { shelf: "3" } }),
    service: "notes",
    fingerprint: "f1",
    count: 1,
    origin: "request",
    handled: true,
    severity: "error",
    time: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    traceId: "1".repeat(32),
    spanId: "2".repeat(16),
    requestId: "r-1",
    attributes: { route: "/notes/:id", attempt: 2, cold: false },
    ...fields,
  };
}
