import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

test('pulls through random faults end right, and leave nothing behind', async () => {
  const parameters = ['--import', 'tsx', 'scripts/soak-registry.ts', '--pulls', '40', '--seed', '1'];
  const { stdout } = await promisify(execFile)(process.execPath, parameters).catch((error) => error);
  expect(stdout).toMatch(/^violations: 0$/m);
  expect(stdout).toMatch(/^completed with the right bytes: [1-9]/m);
});
