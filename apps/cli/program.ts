import { Command } from 'commander';
import { addAdminCommands } from './commands/admin.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { type CommandContext, type CommandWorld, createContext } from './commands/context.ts';
import { addImageCommands } from './commands/image.ts';
import { isGroup } from './commands/notes.ts';
import { addRootfsCommands } from './commands/rootfs.ts';
import { addServeCommands } from './commands/serve.ts';
import { addSetupCommand } from './commands/setup.ts';
import { addTaskCommands } from './commands/task.ts';
import { addUserCommands } from './commands/user.ts';
import { addVersionCommand } from './commands/version.ts';
import { formatHelp } from './help-format.ts';

/** Runs the command line `argv` (without node and script). Resolves with the exit code. */
export async function runCommandLine(argv: readonly string[], world: CommandWorld): Promise<number> {
  let exitCode = 0;
  const context = createContext(world, (code) => {
    exitCode = code;
  });
  const program = createProgram(context);
  const command = helpAsked(program, argv);
  if (command !== undefined) {
    command.outputHelp();
    return 0;
  }
  // `help` of what there is not: the error names it.
  await program.parseAsync(argv[0] === 'help' ? argv.slice(1) : argv, { from: 'user' });
  return exitCode;
}

/** The command whose help is asked for: `help image pull`, or a group (or nothing) as all that was typed. */
function helpAsked(program: Command, argv: readonly string[]): Command | undefined {
  const [first, ...rest] = argv;
  let command: Command | undefined = program;
  for (const word of first === 'help' ? rest : argv) command = command?.commands.find((child) => child.name() === word);
  if (command === undefined || first === 'help') return command;
  return command === program || isGroup(command) ? command : undefined;
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
    .configureHelp({ showGlobalOptions: true, formatHelp })
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
