/**
 * What is used of `node:crypto`. To import the module itself is to read each of its exports, and with Web Crypto that loads
 * several times what is used here.
 */
export const { createHash, randomFillSync, randomUUID } = process.getBuiltinModule("node:crypto");
