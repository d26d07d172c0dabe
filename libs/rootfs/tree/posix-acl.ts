const XATTR_VERSION = 2;
const ENTRY = 8;
const ALL_PERMISSIONS = 7;
const NO_ID = 0xffff_ffff;

/** Who an entry of a POSIX ACL is for (the kernel's include/uapi/linux/posix_acl.h). */
export const AclTag = { owner: 0x01, user: 0x02, owningGroup: 0x04, group: 0x08, mask: 0x10, others: 0x20 } as const;

export interface AclEntry {
  /** One of `AclTag`. */
  readonly tag: number;
  /** Read 4, write 2, execute 1. */
  readonly permissions: number;
  /** Of the named user or group; meaningless with other tags. */
  readonly id: number;
}

/** A letter for each tag, in upper case for a named user or group. */
const LETTERS: ReadonlyMap<number, string> = new Map([
  [AclTag.owner, 'u'],
  [AclTag.user, 'U'],
  [AclTag.owningGroup, 'g'],
  [AclTag.group, 'G'],
  [AclTag.mask, 'm'],
  [AclTag.others, 'o'],
]);
/** The valid sequences of tags: an ACL with named users or groups needs a mask (the kernel's `posix_acl_valid`). */
const WHOLE = /^(?:u(?:gm?|U*gG*m)o)?$/;

/** Whether the entry is for a user or group by its number. */
export function isNamed({ tag }: AclEntry): boolean {
  return tag === AclTag.user || tag === AclTag.group;
}

/**
 * Parses a POSIX ACL in the form used by setxattr(2) and tar (acl(5): version 2, eight bytes per entry). Undefined when the kernel would
 * not let anyone set it.
 */
export function parsePosixAcl(value: Buffer): readonly AclEntry[] | undefined {
  if (value.length < 4 || (value.length - 4) % ENTRY !== 0 || value.readUInt32LE(0) !== XATTR_VERSION) return undefined;
  const entries: AclEntry[] = [];
  let letters = '';
  for (let at = 4; at < value.length; at += ENTRY) {
    const entry = {
      tag: value.readUInt16LE(at),
      permissions: value.readUInt16LE(at + 2),
      id: value.readUInt32LE(at + 4),
    };
    if (entry.permissions > ALL_PERMISSIONS || (isNamed(entry) && entry.id === NO_ID)) return undefined;
    letters += LETTERS.get(entry.tag) ?? '?';
    entries.push(entry);
  }
  return WHOLE.test(letters) ? entries : undefined;
}

/** Whether the ACL says more than the nine permission bits can (the kernel's `posix_acl_equiv_mode`); only then is it stored. */
export function saysMoreThanMode(acl: readonly AclEntry[]): boolean {
  return acl.some((entry) => isNamed(entry) || entry.tag === AclTag.mask);
}

/** The mode of a file with this access ACL: its permissions come from the owner's entry, the mask or else the group's, and the others'. */
export function modeWithAcl(mode: number, acl: readonly AclEntry[]): number {
  if (acl.length === 0) return mode;
  const of = (tag: number) => acl.find((entry) => entry.tag === tag)?.permissions;
  const group = of(AclTag.mask) ?? of(AclTag.owningGroup) ?? 0;
  return (mode & ~0o777) | ((of(AclTag.owner) ?? 0) << 6) | (group << 3) | (of(AclTag.others) ?? 0);
}
