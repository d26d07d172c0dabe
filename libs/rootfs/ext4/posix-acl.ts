import { isNamed, parsePosixAcl } from '../tree/posix-acl.ts';

const DISK_VERSION = 1;

/**
 * Converts a POSIX ACL from its form in tar to ext4's (version 1, with an id only for named users and groups; the kernel's
 * fs/ext4/acl.h). Undefined when the kernel would not let anyone set it: reading it from the disk, the kernel would fail each use of the
 * file with an error.
 */
export function posixAclOnDisk(value: Buffer): Buffer | undefined {
  const acl = parsePosixAcl(value);
  if (acl === undefined) return undefined;
  const parts = [word(DISK_VERSION)];
  for (const entry of acl) {
    parts.push(word(entry.tag | (entry.permissions << 16)));
    if (isNamed(entry)) parts.push(word(entry.id));
  }
  return Buffer.concat(parts);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
