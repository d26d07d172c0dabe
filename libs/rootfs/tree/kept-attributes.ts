import type { LayerEntry } from '../layer/entry.ts';
import type { InodeAttributes } from './inode-table.ts';
import { modeWithAcl, parsePosixAcl, saysMoreThanMode } from './posix-acl.ts';

/** Linux gives every symlink these, whatever was asked for (symlink(2)). */
const SYMLINK_MODE = 0o777;

/** Attributes that mean something only on the host that wrote them: umoci sets none of them. */
const HOST_ATTRIBUTES = new Set([
  'security.selinux',
  'system.nfs4_acl',
  'trusted.overlay.impure',
  'trusted.overlay.metacopy',
  'trusted.overlay.nlink',
  'trusted.overlay.opaque',
  'trusted.overlay.origin',
  'trusted.overlay.redirect',
  'trusted.overlay.upper',
]);

const ACCESS_ACL = 'system.posix_acl_access';

/** An entry's attributes as its inode gets them: nearly always as they are, and then without a copy. */
export function keptAttributes(entry: LayerEntry): InodeAttributes {
  const mode = entry.type === 'symlink' ? SYMLINK_MODE : entry.mode;
  if (entry.xattrs.length === 0 && mode === entry.mode) return entry;
  const kept = { ...entry, mode, xattrs: entry.xattrs.filter(([name]) => !HOST_ATTRIBUTES.has(name)) };
  return entry.type === 'symlink' ? kept : withAccessAcl(kept);
}

/** As the kernel does it to a file that is given an access ACL, its mode follows that; one that says no more than a mode is not kept. */
function withAccessAcl(entry: LayerEntry): InodeAttributes {
  const value = entry.xattrs.find(([name]) => name === ACCESS_ACL)?.[1];
  const acl = value === undefined ? undefined : parsePosixAcl(Buffer.from(value, 'latin1'));
  if (acl === undefined) return entry;
  const xattrs = saysMoreThanMode(acl) ? entry.xattrs : entry.xattrs.filter(([name]) => name !== ACCESS_ACL);
  return { ...entry, mode: modeWithAcl(entry.mode, acl), xattrs };
}
