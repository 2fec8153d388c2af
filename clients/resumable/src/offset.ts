/**
 * Returns the offset that is some bytes behind another one of the same stream: the second half of an offset counts bytes.
 *
 * @throws TypeError if it is not an offset of Fanfare
 */
export function behind(offset: string, bytes: number): string {
  const [, generation, byte] = /^(\d{16})_(\d{16})$/.exec(offset) ?? [];
  if (!generation || !byte) throw new TypeError(`not an offset of Fanfare: ${offset}`);
  return `${generation}_${`${Number(byte) + bytes}`.padStart(16, "0")}`;
}

/** Returns the offset of the first byte of a stream; the argument is any of its offsets. */
export const beginning = (offset: string): string => behind(offset.replace(/\d{16}$/, "0".repeat(16)), 0);
