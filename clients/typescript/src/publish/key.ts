/** Returns a new idempotency key: a UUID of version 7 (RFC 9562, section 5.7), which begins with the time. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = new DataView(bytes.buffer);
  const now = Date.now();
  time.setUint32(0, Math.floor(now / 0x1_0000));
  time.setUint16(4, now % 0x1_0000);
  time.setUint8(6, 0x70 | (time.getUint8(6) & 0x0f));
  time.setUint8(8, 0x80 | (time.getUint8(8) & 0x3f));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
