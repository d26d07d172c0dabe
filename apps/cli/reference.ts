import type { Command, Option } from 'commander';

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
    'then environment (`BHATTI_URL`, `BHATTI_TOKEN`, `BHATTI_DATA_DIR`), then default. A token in the config file or the',
    'environment never shows in a process list. Output has no colours.',
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

/** A command that only has others below it. */
function isGroup(command: Command): boolean {
  return command.commands.length > 0 && command.options.length === 0;
}

function section(command: Command): string {
  const names = [];
  for (let each: Command | null = command; each !== null; each = each.parent) names.unshift(each.name());
  const usage = [names.join(' '), command.usage()].join(' ').replace(' [command]', '');
  const alias = command.alias();
  const parts = [
    `## ${names.join(' ')}`,
    `\`\`\`\n${usage}\n\`\`\``,
    `${capital(command.description())}.${alias === undefined ? '' : ` Alias: \`${alias}\`.`}`,
    command.registeredArguments
      .map((argument) => `- \`${argument.name()}\`: ${argument.description}${choices(argument.argChoices)}`)
      .join('\n'),
    options(command),
    afterHelp(command),
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

/** What stands below the options in `--help`: notes and examples. */
function afterHelp(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
  });
  command.outputHelp();
  const after = text.slice(text.indexOf(command.helpInformation()) + command.helpInformation().length).trim();
  return after === '' ? '' : `\`\`\`\n${after}\n\`\`\``;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
