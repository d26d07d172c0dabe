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

/** What people who know Docker type first; none is so like a command of ours that commander would find it. */
const DOCKER_COMMANDS: ReadonlyMap<string, string> = new Map([
  ['pull', 'image pull'],
  ['images', 'image list'],
  ['ls', 'image list'],
  ['list', 'image list'],
  ['inspect', 'image inspect'],
  ['rmi', 'image delete'],
  ['rm', 'image delete'],
  ['import', 'image import'],
  ['load', 'image import --tar'],
  ['save', 'image export'],
  ['export', 'image export'],
  ['ps', 'task list'],
  ['logs', 'task watch'],
  ['start', 'serve --detach'],
  ['stop', 'serve stop'],
  ['status', 'serve status'],
]);

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
  const meant = DOCKER_COMMANDS.get(argv[0] ?? '');
  if (meant !== undefined) program.error(`error: unknown command '${argv[0]}'\n(Did you mean ${meant}?)`);
  // `help` of what there is not: the error names it.
  await program.parseAsync(argv[0] === 'help' ? argv.slice(1) : argv, { from: 'user' });
  return exitCode;
}

/** The command whose help is asked for: `help image pull`, `image help pull`, or a group (or nothing) as all that was typed. */
function helpAsked(program: Command, argv: readonly string[]): Command | undefined {
  const at = argv.indexOf('help');
  const isAsked =
    at === 0 || (at === 1 && program.commands.some((child) => child.name() === argv[0] && isGroup(child)));
  const words = isAsked ? argv.filter((_word, index) => index !== at) : argv;
  let command: Command | undefined = program;
  for (const word of words) {
    command = command?.commands.find((child) => child.name() === word || child.aliases().includes(word));
  }
  if (command === undefined || isAsked) return command;
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
