import { expect, test } from '@jest/globals';
import { mergeLayers } from '../tree/merge.ts';
import { bootWarnings } from '../tree/sandbox.ts';
import { layerEntry } from './support/layer-entries.ts';
import { buildImage } from './support/layers.ts';
import type { TarEntry } from './support/tar-entry.ts';
import { withTemporaryDirectory } from './support/temporary-directory.ts';

const acl = Buffer.from('0200000001000600ffffffff04000400ffffffff20000400ffffffff', 'hex');
const textAcl = 'user::rw-,group::r--,other::r--,user:games:rwx:5,mask::rwx';
const file = (path: string, more: Partial<TarEntry> = {}): TarEntry => ({ path, type: 'file', ...more });
const withRecord = (path: string, key: string, value: string, more: Partial<TarEntry> = {}) =>
  file(path, { encoding: { extraRecords: [[key, value]] }, ...more });

async function warningsOf(...layers: TarEntry[][]): Promise<readonly string[]> {
  return await withTemporaryDirectory(async (directory) => {
    const { report } = await buildImage(directory, [[file('bin/sh')], ...layers]);
    return report.warnings;
  });
}

test('a shell that is not there, and a systemd that is, are told, whatever symlinks lead there', () => {
  const symlink = (path: string, target: string): TarEntry => ({ path, type: 'symlink', target });
  const warned = (...entries: TarEntry[]) =>
    bootWarnings(mergeLayers([entries.map(layerEntry)])).map((warning) => /sh|systemd/.exec(warning)?.[0]);
  expect(warned(file('bin/sh'))).toEqual([]);
  // As most images have it.
  expect(warned(symlink('bin', 'usr/bin'), file('usr/bin/dash'), symlink('usr/bin/sh', 'dash'))).toEqual([]);
  expect(warned(symlink('bin', '/usr/bin'), file('usr/bin/sh'))).toEqual([]);
  // Nothing lies above the root, for a kernel that boots it.
  expect(warned(symlink('bin', '../usr/bin'), symlink('usr/bin/sh', '../.././../lib/dash'), file('lib/dash'))).toEqual(
    [],
  );
  expect(warned(symlink('a/b', './c/'), symlink('bin', 'a/b'), file('a/c/sh'))).toEqual([]);
  for (const without of [
    [],
    [file('bin')],
    [file('bin/bash')],
    [symlink('bin', 'usr/bin'), file('usr/bin/bash')],
    [symlink('bin', 'nowhere')],
    [symlink('bin/sh', 'dash')],
    [symlink('bin/sh', 'dash/'), file('bin/dash')],
    [symlink('bin/sh', 'bash/../dash'), file('bin/bash'), file('bin/dash')],
    [symlink('bin', 'bin')],
    [symlink('bin', '/loop'), symlink('loop', '/bin')],
  ])
    expect(warned(...without)).toEqual(['sh']);
  expect(warned(file('bin/sh'), file('lib/systemd/systemd'))).toEqual(['systemd']);
  expect(warned(file('bin/sh'), file('usr/lib/systemd/systemd'))).toEqual(['systemd']);
  expect(warned(file('bin/sh'), file('usr/lib/systemd/systemd-udevd'))).toEqual([]);
});

test('an image of which everything is kept has no warnings', async () => {
  expect(
    await warningsOf([
      file('a', { xattrs: [['user.a', Buffer.from('a')]] }),
      // The mode says the same, or an attribute does.
      withRecord('b', 'SCHILY.acl.access', 'user::rw-,group::r--,other::r--'),
      withRecord('c', 'SCHILY.acl.access', textAcl, { xattrs: [['system.posix_acl_access', acl]] }),
    ]),
  ).toEqual([]);
});

test('attributes that are left out are told with how many files had them, and the first; not those of what is hidden', async () => {
  const lost = [['user', Buffer.from('x')]] as const;
  const ofSome = ['user.a', 'trusted.a', 'system.posix_acl_access', 'system.posix_acl_default'].map(
    (name): [string, Buffer] => [name, name.startsWith('system.') ? acl : Buffer.from('x')],
  );
  expect(
    await warningsOf(
      [file('hidden', { xattrs: lost })],
      [
        file('.wh.hidden'),
        file('z', { xattrs: lost }),
        file('d/\n', { xattrs: lost }),
        file('cap', { xattrs: [['security.capability', Buffer.from('none')]] }),
        // What the kernel lets no such file have.
        { path: 'dir', type: 'directory', xattrs: ofSome },
        file('plain', { xattrs: ofSome }),
        { path: 'fifo', type: 'fifo', xattrs: ofSome },
        { path: 'link', type: 'symlink', target: 'a', xattrs: ofSome },
      ],
    ),
  ).toEqual([
    'extended attributes "security.capability" of "/cap" were left out: ext4 or the kernel does not take them',
    'extended attributes "system.posix_acl_access" of "/link" were left out: ext4 or the kernel does not take them',
    'extended attributes "system.posix_acl_default" of 3 files, "/plain" the first, were left out: ext4 or the kernel does not take them',
    'extended attributes "user" of 2 files, "/z" the first, were left out: ext4 or the kernel does not take them',
    'extended attributes "user.a" of 2 files, "/fifo" the first, were left out: ext4 or the kernel does not take them',
  ]);
});

test('of many attributes that are left out, only the first are named', async () => {
  const xattrs = Array.from({ length: 100 }, (_, i): [string, Buffer] => [`lost-${i}`, Buffer.from('x')]);
  const warnings = await warningsOf([file('a', { xattrs })]);
  expect(warnings.slice(-2)).toEqual([
    'extended attributes "lost-26" of "/a" were left out: ext4 or the kernel does not take them',
    'extended attributes of 80 other names were left out, too',
  ]);
});

test('ACLs in text form are told as left out', async () => {
  expect(
    await warningsOf([
      withRecord('a', 'SCHILY.acl.access', textAcl),
      withRecord('b', 'SCHILY.acl.access', textAcl),
      withRecord('d', 'SCHILY.acl.default', 'user::rwx,group::r-x,other::---', { type: 'directory' }),
    ]),
  ).toEqual([
    'ACLs in text form (SCHILY.acl.access) of 2 files, "/a" the first, were left out, as Docker leaves them out',
    'ACLs in text form (SCHILY.acl.default) of "/d" were left out, as Docker leaves them out',
  ]);
});
