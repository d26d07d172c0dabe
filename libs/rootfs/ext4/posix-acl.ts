const XATTR_VERSION = 2;
const DISK_VERSION = 1;
const ENTRY = 8;
const USER = 0x02;
const GROUP = 0x08;

/**
 * A POSIX ACL from the form in which the system call and tar have it (acl(5): version 2, eight bytes an entry) to
 * ext4's (version 1, an id only for named users and groups; the kernel's fs/ext4/acl.h). Undefined when it is none.
 */
export function posixAclOnDisk(value: Buffer): Buffer | undefined {
  if (value.length < 4 || (value.length - 4) % ENTRY !== 0 || value.readUInt32LE(0) !== XATTR_VERSION) return undefined;
  const parts = [word(DISK_VERSION)];
  for (let at = 4; at < value.length; at += ENTRY) {
    const tag = value.readUInt16LE(at);
    parts.push(value.subarray(at, at + (tag === USER || tag === GROUP ? ENTRY : ENTRY / 2)));
  }
  return Buffer.concat(parts);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
