import { databaseModule } from "@plinth/database";
import { coreModule, createApp } from "@plinth/kernel";
import { httpModule } from "@plinth/transport";
import { ledgerModule } from "./module.ts";

const app = createApp({
  name: "ledger",
  modules: [coreModule, databaseModule, httpModule, ledgerModule],
  config: { defaults: { database: { embedded: true } } }, // PLINTH_DATABASE_URL wins over it
});
process.exitCode = await app.run();
