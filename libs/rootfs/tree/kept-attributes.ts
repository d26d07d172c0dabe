import type { LayerEntry } from '../layer/entry.ts';
import type { InodeAttributes } from './inode-table.ts';
import { modeWithAcl, parsePosixAcl, saysMoreThanMode } from './posix-acl.ts';

/** Linux gives every symlink this mode, whatever was asked for (symlink(2)). */
const SYMLINK_MODE = 0o777;

/** Attributes that only have a meaning on the host that wrote them; umoci does not set them either. */
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

/** The attributes that an entry's inode gets: nearly always those of the entry, which is then not copied. */
export function keptAttributes(entry: LayerEntry): InodeAttributes {
  const mode = entry.type === 'symlink' ? SYMLINK_MODE : entry.mode;
  if (entry.xattrs.length === 0 && mode === entry.mode) return entry;
  const kept = { ...entry, mode, xattrs: entry.xattrs.filter(([name]) => !HOST_ATTRIBUTES.has(name)) };
  return entry.type === 'symlink' ? kept : withAccessAcl(kept);
}

/** As in the kernel, an access ACL determines the file's mode, and is only stored if it says more than a mode can. */
function withAccessAcl(entry: LayerEntry): InodeAttributes {
  const value = entry.xattrs.find(([name]) => name === ACCESS_ACL)?.[1];
  const acl = value === undefined ? undefined : parsePosixAcl(Buffer.from(value, 'latin1'));
  if (acl === undefined) return entry;
  const xattrs = saysMoreThanMode(acl) ? entry.xattrs : entry.xattrs.filter(([name]) => name !== ACCESS_ACL);
  return { ...entry, mode: modeWithAcl(entry.mode, acl), xattrs };
}
