import { readFile } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { createContext } from '../commands/context.ts';
import { createProgram } from '../program.ts';
import { commandReference } from '../reference.ts';
import { recordedConsole } from './recorded-console.ts';

test('docs/cli.md is what the commands say; npm run docs:cli makes it', async () => {
  const { console } = recordedConsole();
  const reference = commandReference(createProgram(createContext({ env: {}, console, version: '' }, () => {})));
  expect(await readFile(new URL('../../../docs/cli.md', import.meta.url), 'utf8')).toBe(reference);
});
