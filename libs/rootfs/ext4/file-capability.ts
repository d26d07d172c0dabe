const REVISION_MASK = 0xff00_0000;

/** Bytes of each revision (linux/capability.h, `XATTR_CAPS_SZ_1` to `_3`). */
const SIZES: ReadonlyMap<number, number> = new Map([
  [0x0100_0000, 12],
  [0x0200_0000, 20],
  [0x0300_0000, 24],
]);

/** Whether execve(2) accepts the value of a `security.capability`; nobody can run a file with an invalid one. */
export function isFileCapability(value: Buffer): boolean {
  return value.length >= 4 && SIZES.get(value.readUInt32LE(0) & REVISION_MASK) === value.length;
}
