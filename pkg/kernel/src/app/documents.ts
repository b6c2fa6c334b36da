import { token } from "./token.ts";

/** Something that an app can write about itself without running: `plinth openapi` asks for the one of that name. */
export interface AppDocument {
  /** What it is asked for by. */
  readonly name: string;
  /** Called once. Whatever it was made of has not been started, and what has hooks is a stand-in that does nothing. */
  write(): WrittenDocument | Promise<WrittenDocument>;
}

export interface WrittenDocument {
  readonly text: string;
  /** What is wrong in the code that it was written from. */
  readonly faults: readonly string[];
  /** What could not be said in it. */
  readonly warnings: readonly string[];
}

/** What the app can write about itself; every module may add some. Nothing of it is made when the app runs. */
export const appDocuments = token("app.documents").listOf<AppDocument>();
