/** Writes docs/cli.md from the commands of the CLI: `npm run docs:cli`. A test fails while it is stale. */
import { writeFile } from 'node:fs/promises';
import { createContext } from '../apps/cli/commands/context.ts';
import { createProgram } from '../apps/cli/program.ts';
import { commandReference } from '../apps/cli/reference.ts';
import { processConsole } from '../apps/cli/terminal/console.ts';

const context = createContext({ env: {}, console: processConsole, version: '' }, () => {});
await writeFile(new URL('../docs/cli.md', import.meta.url), commandReference(createProgram(context)));
