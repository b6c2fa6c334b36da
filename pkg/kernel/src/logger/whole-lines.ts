/** A write of so many bytes to a pipe is never mixed with those of other processes: PIPE_BUF of Linux. @see pipe(7) */
const maxAtomicBytes = 4_096;
const lineFeed = 10;

/**
 * The first lines of `bytes` that can be written at once to a pipe that several processes share, so that no line is torn by those
 * of another. A line that is longer than a pipe takes at once stands alone, and may be.
 */
export function wholeLines(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= maxAtomicBytes) return bytes;
  const last = bytes.subarray(0, maxAtomicBytes).lastIndexOf(lineFeed);
  const end = last < 0 ? bytes.indexOf(lineFeed) : last;
  return end < 0 ? bytes : bytes.subarray(0, end + 1);
}
