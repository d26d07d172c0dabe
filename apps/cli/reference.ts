import type { Command, Option } from 'commander';
import { isGroup, notesOf, usualExitCodes } from './commands/notes.ts';
import { capital, pathOf, usageOf } from './help-format.ts';

/** The command reference as Markdown, made from the tree of commands: what `--help` says, for reading in one go. */
export function commandReference(program: Command): string {
  const sections = commandsOf(program).map((command) => section(command));
  return `${[
    '# Command line',
    '',
    '<!-- Made by npm run docs:cli from the commands. -->',
    '',
    'Results and progress go to stdout; errors, hints, warnings and timings to stderr. **Exit codes**: 0 done, 1 error (also for wrong usage),',
    '130 detached by Ctrl+C. Output has no colours.',
    '',
    '**Settings** come from, in this order: a flag, the config file (`~/.bhatti/config.yaml`, `/etc/bhatti/config.yaml`, or the one that',
    '`BHATTI_CONFIG` names), the environment (`BHATTI_URL`, `BHATTI_TOKEN`, `BHATTI_DATA_DIR`), the default. The file is YAML: `url`, `token`,',
    '`data_dir`. A token from the file or the environment never shows in the process list. `--data-dir` selects the local server of',
    'that directory, whatever URL is configured; by default it is `/var/lib/bhatti` for root (if it can be written), else',
    '`$XDG_DATA_HOME/bhatti`, else `~/.local/share/bhatti`.',
    '',
    '**Network**: a remote server is reached through `HTTPS_PROXY` or `HTTP_PROXY` (`http://name:password@host:port`), except hosts in',
    '`NO_PROXY`. `NODE_EXTRA_CA_CERTS` names a file of additional trusted certificates.',
    '',
    '## Global flags',
    '',
    options(program),
    '',
    sections.join('\n\n'),
  ].join('\n')}\n`;
}

/** Every command that does something, parents before their children. */
function commandsOf(command: Command): Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .flatMap((child) => [...(isGroup(child) ? [] : [child]), ...commandsOf(child)]);
}

function section(command: Command): string {
  const { examples, more, exitCodes } = notesOf(command);
  const alias = command.alias();
  const parts = [
    `## ${pathOf(command)}`,
    `\`\`\`\n${usageOf(command)}\n\`\`\``,
    `${capital(command.description())}.${alias === undefined ? '' : ` Alias: \`${alias}\`.`}`,
    ...more,
    command.registeredArguments
      .map((argument) => `- \`${argument.name()}\`: ${argument.description}${choices(argument.argChoices)}`)
      .join('\n'),
    options(command),
    `\`\`\`\n${examples.map((line) => `$ ${line}`).join('\n')}\n\`\`\``,
    exitCodes === usualExitCodes ? '' : `Exit codes: ${exitCodes}.`,
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function options(command: Command): string {
  return command.options
    .filter(({ hidden, long }) => !hidden && long !== '--version')
    .map((option) => `- \`${option.flags}\`: ${option.description}${choices(option.argChoices)}${standard(option)}`)
    .join('\n');
}

function standard({ defaultValue }: Option): string {
  return defaultValue === undefined ? '' : ` (default: ${defaultValue})`;
}

function choices(values: readonly string[] | undefined): string {
  return values === undefined ? '' : ` (${values.join(', ')})`;
}
