import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { bundled } from '../../../test/support/bundled.ts';

test('pulls through random faults end right, and leave nothing behind', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-soak-'));
  try {
    const program = fileURLToPath(await bundled('scripts/soak-registry.ts', directory));
    const parameters = [program, '--pulls', '40', '--seed', '1'];
    const { stdout } = await promisify(execFile)(process.execPath, parameters).catch((error) => error);
    expect(stdout).toMatch(/^violations: 0$/m);
    expect(stdout).toMatch(/^completed with the right bytes: [1-9]/m);
  } finally {
    await rm(directory, { recursive: true });
  }
});
