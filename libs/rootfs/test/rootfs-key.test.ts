import { e2fsprogsVersion, fileDigest, rootfsKey } from '@bhatti/rootfs';
import { expect, test } from '@jest/globals';

test('a key is of everything that changes a byte of the image', async () => {
  const parts = { manifestDigest: 'sha256:a', e2fsprogs: await e2fsprogsVersion() };
  expect(parts.e2fsprogs).toMatch(/^\d+\.\d+/);
  const keys = [
    parts,
    { ...parts, manifestDigest: 'sha256:b' },
    { ...parts, sizeBytes: 2 ** 30 },
    { ...parts, overlayDiffId: 'sha256:c' },
    { ...parts, e2fsprogs: '1.46.0' },
  ].map(rootfsKey);
  expect(new Set(keys).size).toBe(keys.length);
  expect(rootfsKey({ ...parts, sizeBytes: undefined, overlayDiffId: undefined })).toBe(keys[0]);
});

test('a file that cannot be read has no digest', async () => {
  await expect(fileDigest('/nowhere/rootfs.ext4')).rejects.toMatchObject({
    message: expect.stringContaining('ENOENT'),
  });
});
