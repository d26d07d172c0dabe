const XATTR_VERSION = 2;
const DISK_VERSION = 1;
const ENTRY = 8;
const USER = 0x02;
const GROUP = 0x08;
const ALL_PERMISSIONS = 7;
const NO_ID = 0xffff_ffff;

/** A letter for each tag: capitals for those of a named user or group. */
const TAGS: ReadonlyMap<number, string> = new Map([
  [0x01, 'u'],
  [USER, 'U'],
  [0x04, 'g'],
  [GROUP, 'G'],
  [0x10, 'm'],
  [0x20, 'o'],
]);
/** What an ACL has, and in which order: a mask where anybody is named (the kernel's `posix_acl_valid`). */
const WHOLE = /^(?:u(?:gm?|U*gG*m)o)?$/;

/**
 * A POSIX ACL from the form in which the system call and tar have it (acl(5): version 2, eight bytes an entry) to
 * ext4's (version 1, an id only for named users and groups; the kernel's fs/ext4/acl.h). Undefined when it is none that the kernel
 * lets anybody set: on a disk it would read it all the same, and answer each use of the file with an error.
 */
export function posixAclOnDisk(value: Buffer): Buffer | undefined {
  if (value.length < 4 || (value.length - 4) % ENTRY !== 0 || value.readUInt32LE(0) !== XATTR_VERSION) return undefined;
  const parts = [word(DISK_VERSION)];
  let tags = '';
  for (let at = 4; at < value.length; at += ENTRY) {
    const tag = value.readUInt16LE(at);
    const isNamed = tag === USER || tag === GROUP;
    if (value.readUInt16LE(at + 2) > ALL_PERMISSIONS || (isNamed && value.readUInt32LE(at + 4) === NO_ID))
      return undefined;
    tags += TAGS.get(tag) ?? '?';
    parts.push(value.subarray(at, at + (isNamed ? ENTRY : ENTRY / 2)));
  }
  return WHOLE.test(tags) ? Buffer.concat(parts) : undefined;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
