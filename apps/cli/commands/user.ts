import { isLoopbackHost } from '@bhatti/oci';
import type { Command } from 'commander';
import * as z from 'zod';
import { CliError } from '../cli-error.ts';
import { describeEndpoint } from '../server/http-connection.ts';
import type { Settings } from '../settings.ts';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

const createFlags = z.object({ admin: z.boolean().default(false) });

/** `bhatti user …`: works on the data directory itself, so whoever may write there is the admin; no server is needed. */
export function addUserCommands(program: Command, { console, settingsOf, exit }: CommandContext): void {
  const user = program.command('user').description('manage who may use the API of a data directory').helpCommand(false);
  const run = async (
    command: Command,
    action: (commands: typeof import('../user-command.ts'), directory: string, json: boolean) => Promise<number>,
  ) => {
    const settings = await settingsOf(command);
    requireHere(settings);
    const { dataDirectory, json } = settings;
    exit(await action(await import('../user-command.ts'), dataDirectory, json));
  };
  user
    .command('create')
    .description('create a user and print the token, which is shown only once')
    .argument('<name>', 'name of the user, and owner of the images')
    .option('--admin', 'make an admin, who sees everything and can share images')
    .action((name: string, options: unknown, command: Command) => {
      const { admin } = createFlags.parse(options);
      return run(command, (commands, directory, json) =>
        commands.createUser(directory, name, console, { admin, json }),
      );
    });
  user
    .command('list')
    .alias('ls')
    .description('list the users')
    .action((_options: unknown, command: Command) =>
      run(command, (commands, directory, json) => commands.listUsers(directory, console, json)),
    );
  user
    .command('rotate-key')
    .description('replace the token of a user and print the new one, which is shown only once')
    .argument('<name>', 'name of the user; local is the admin of this machine')
    .action((name: string, _options: unknown, command: Command) =>
      run(command, (commands, directory, json) => commands.rotateKey(directory, name, console, json)),
    );
  user
    .command('delete')
    .alias('rm')
    .description('delete a user: the token is refused from now on, images and tasks stay')
    .argument('<name>', 'name of the user')
    .action((name: string, _options: unknown, command: Command) =>
      run(command, (commands, directory, json) => commands.deleteUser(directory, name, console, json)),
    );
  addNotes(user, {
    create: { examples: ['bhatti user create ann', 'bhatti user create ops --admin --data-dir /var/lib/bhatti'] },
    list: { examples: ['bhatti user list'] },
    'rotate-key': { examples: ['bhatti user rotate-key ann'] },
    delete: { examples: ['bhatti user delete ann'] },
  });
}

/**
 * Throws CliError `invalid_request` if the server in use is on another host: its users are not those of a data directory here. A
 * token created here would be invalid there, and one deleted here still valid.
 */
function requireHere({ url, token, dataDirectory }: Settings): void {
  if (url === undefined || isLoopbackHost(url.host)) return;
  const server = describeEndpoint({ kind: 'url', url, token });
  throw new CliError(
    'invalid_request',
    `the users of ${server} are in the data directory on its host, out of reach from here`,
    {
      hint: `If that is this host, name it: --data-dir ${dataDirectory}, without --url. Else run this there.`,
    },
  );
}
