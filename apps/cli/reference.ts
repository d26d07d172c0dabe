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
    'stdout is the answer, stderr everything about it. **Exit codes**: 0 done, 1 error (also in the usage), 130 detached by Ctrl+C.',
    '',
    '**Settings**: flag, then config file (`~/.bhatti/config.yaml`, `/etc/bhatti/config.yaml`, or the one in `BHATTI_CONFIG`),',
    'then environment (`BHATTI_URL`, `BHATTI_TOKEN`, `BHATTI_DATA_DIR`), then default. The file is YAML: `url`, `token`, `data_dir`. A token',
    'there or in the environment never shows in a process list. `--data-dir` means the server there, whatever URL is configured. Output has',
    'no colours.',
    '',
    '**Network**: a server elsewhere is asked through `HTTPS_PROXY` or `HTTP_PROXY` (`http://name:password@host:port`), but for hosts in',
    '`NO_PROXY`. `NODE_EXTRA_CA_CERTS` names a file of certificates that are trusted, too.',
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
    .map((option: Option) => `- \`${option.flags}\`: ${option.description}${choices(option.argChoices)}`)
    .join('\n');
}

function choices(values: readonly string[] | undefined): string {
  return values === undefined ? '' : ` (${values.join(', ')})`;
}
