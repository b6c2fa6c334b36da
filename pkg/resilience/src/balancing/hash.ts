/** Mixes all bits of a whole number of 32 bits into all others: the end of MurmurHash3. @returns 0 to 2³² − 1. */
export function mix32(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85_eb_ca_6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2_b2_ae_35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** The same number for the same text, in every process and version: FNV-1a over its UTF-16 units, mixed. @returns 0 to 2³² − 1. */
export function hash32(text: string): number {
  let hash = 0x81_1c_9d_c5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01_00_01_93);
  return mix32(hash);
}

/** What two hashes make together: of one key and one member. @returns 0 to 2³² − 1. */
export function pairHash(a: number, b: number): number {
  return mix32(mix32(a ^ 0x9e_37_79_b9) + b);
}
