import { Command } from 'commander';
import { addAdminCommands } from './commands/admin.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { type CommandContext, type CommandWorld, createContext } from './commands/context.ts';
import { addImageCommands } from './commands/image.ts';
import { addRootfsCommands } from './commands/rootfs.ts';
import { addServeCommands } from './commands/serve.ts';
import { addSetupCommand } from './commands/setup.ts';
import { addTaskCommands } from './commands/task.ts';
import { addUserCommands } from './commands/user.ts';
import { addVersionCommand } from './commands/version.ts';

/** Runs the command line `argv` (without node and script). Resolves with the exit code. */
export async function runCommandLine(argv: readonly string[], world: CommandWorld): Promise<number> {
  let exitCode = 0;
  const context = createContext(world, (code) => {
    exitCode = code;
  });
  await createProgram(context).parseAsync(argv, { from: 'user' });
  return exitCode;
}

/** The tree of the commands: a group of them a file in `commands/`. */
export function createProgram(context: CommandContext): Command {
  const program = new Command('bhatti')
    .description('Pull OCI images into ext4 root filesystems that boot.')
    .version(context.version, '--version', 'print the version')
    .option('--url <url>', 'the server to use (BHATTI_URL; default: the local one, which is started when needed)')
    .option('--token <token>', 'the API token for it (BHATTI_TOKEN)')
    .option('--data-dir <directory>', 'where the local server keeps everything (BHATTI_DATA_DIR)')
    .option('--json', 'print JSON')
    .option('--timing', 'print to stderr where the time went')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('Run with --help for the usage.');
  addImageCommands(program, context);
  addTaskCommands(program, context);
  addRootfsCommands(program, context);
  addServeCommands(program, context);
  addAdminCommands(program, context);
  addSetupCommand(program, context);
  addUserCommands(program, context);
  addVersionCommand(program, context);
  addCompletionCommand(program, context);
  return program;
}
