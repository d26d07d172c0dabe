import { Command, CommanderError } from 'commander';
import { positionOf } from './command-position.ts';
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
import { hintFor, withFlagHint } from './familiar-word.ts';
import { formatHelp } from './help-format.ts';
import { explain } from './terminal/explanation.ts';

/** Runs the command line `argv` (without node and script), and prints what goes wrong. Resolves with the exit code. */
export async function runCommandLine(argv: readonly string[], world: CommandWorld): Promise<number> {
  try {
    return await runCommand(argv, world);
  } catch (error) {
    // Commander has printed it. It would also have ended the process, before a failed write of the help is noticed.
    if (error instanceof CommanderError) return error.exitCode;
    return explain(error, world.console);
  }
}

async function runCommand(argv: readonly string[], world: CommandWorld): Promise<number> {
  let exitCode = 0;
  const context = createContext(world, (code) => {
    exitCode = code;
  });
  const program = createProgram(context);
  const help = helpWord(program, argv);
  // For `help` with a word that is no command, the error below names that word.
  const words = argv.filter((_word, index) => index !== help);
  const { command, operands } = positionOf(program, words);
  const isNamedAlone = operands.length === 0 && !words.some((word) => word.startsWith('-'));
  if (isNamedAlone && (help !== -1 || command === program || isGroup(command))) {
    command.outputHelp();
    return 0;
  }
  const [word = ''] = operands;
  const hint = hintFor(command, word);
  if (hint !== undefined) command.error(`error: unknown command '${word}'\n(${hint})`);
  await program.parseAsync(words, { from: 'user' });
  return exitCode;
}

/** The index of the word `help` in `help image pull` and `image help pull`, or -1. */
function helpWord(program: Command, argv: readonly string[]): number {
  const at = argv.indexOf('help');
  const isAsked =
    at === 0 || (at === 1 && program.commands.some((child) => child.name() === argv[0] && isGroup(child)));
  return isAsked ? at : -1;
}

/** The tree of commands. Each group has a file in `commands/`. */
export function createProgram(context: CommandContext): Command {
  const { out, err, screen } = context.console;
  const program = new Command('bhatti')
    .description('Pull OCI images into ext4 root filesystems that boot.')
    .version(context.version, '--version', 'print the version')
    .option('--url <url>', 'the server to use (BHATTI_URL; default: the local one, which is started when needed)')
    .option('--token <token>', 'the API token for it (BHATTI_TOKEN)')
    .option('--data-dir <directory>', 'data directory of the local server (BHATTI_DATA_DIR)')
    .option('--json', 'print JSON')
    .option('--timing', 'print to stderr where the time went')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, formatHelp })
    .configureOutput({
      writeOut: out,
      writeErr: err,
      outputError: (text, write) => write(withFlagHint(text)),
      getOutHelpWidth: () => screen().columns,
    })
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
