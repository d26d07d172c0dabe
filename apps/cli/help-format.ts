import type { Command, Help, Option } from 'commander';
import { isGroup, notesOf } from './commands/notes.ts';

/** The help of a command, in sections: what it does, how it is called, what can be given, examples, exit codes. */
export function formatHelp(command: Command, help: Help): string {
  const { examples, more, exitCodes } = notesOf(command);
  const commands = help.visibleCommands(command);
  const list = (items: readonly (readonly [string, string])[]) => formatItems(items, help);
  const flags = (options: readonly Option[]) =>
    list(options.map((option) => [flagTerm(option), help.optionDescription(option)] as const));
  const isRoot = command.parent === null;
  return [
    `${[capital(command.description()).replace(/\.?$/, '.'), ...more].map((text) => wrap(text, help)).join('\n\n')}\n`,
    section('USAGE', `  ${usageOf(command)}\n`),
    command.alias() && section('ALIASES', `  ${pathOf(command.parent)} ${command.alias()}\n`),
    section(
      'ARGUMENTS',
      list(help.visibleArguments(command).map((one) => [one.name(), help.argumentDescription(one)])),
    ),
    section('COMMANDS', list(commands.map((child) => [child.name(), help.subcommandDescription(child)]))),
    section('FLAGS', isRoot ? '' : flags(help.visibleOptions(command).filter(({ long }) => long !== '--help'))),
    section(
      'GLOBAL FLAGS',
      flags(
        isRoot
          ? help.visibleOptions(command)
          : help.visibleGlobalOptions(command).filter(({ long }) => long !== '--version'),
      ),
    ),
    section('EXAMPLES', examples.map((line) => `  $ ${line}\n`).join('')),
    isGroup(command) || isRoot ? '' : section('EXIT CODES', `  ${exitCodes}\n`),
    commands.length > 0 ? section('LEARN MORE', `  ${pathOf(command)} <command> --help\n`) : '',
  ]
    .filter((part) => part)
    .join('\n');
}

/** `bhatti image pull <ref> [flags]`. */
export function usageOf(command: Command): string {
  const argumentNames = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  const needed = command.options.filter(({ mandatory }) => mandatory).map(({ flags }) => flags.replace(/^-\w, /, ''));
  const group = command.parent === null || isGroup(command);
  return [pathOf(command), ...(group ? ['<command>'] : []), ...argumentNames, ...needed, '[flags]'].join(' ');
}

/** `bhatti image pull`. */
export function pathOf(command: Command | null): string {
  return command === null ? '' : [pathOf(command.parent), command.name()].filter((part) => part !== '').join(' ');
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function section(title: string, body: string): string {
  return body === '' ? '' : `${title}\n${body}`;
}

/** Flags without a short form stand below those that have one. */
function flagTerm(option: Option): string {
  return option.short === undefined ? `    ${option.flags}` : option.flags;
}

function formatItems(items: readonly (readonly [string, string])[], help: Help): string {
  const width = Math.max(0, ...items.map(([term]) => term.length));
  const room = Math.max(30, (help.helpWidth ?? 80) - width - 4);
  const indent = ' '.repeat(width + 4);
  return items
    .map(([term, text]) => `  ${term.padEnd(width)}  ${help.boxWrap(text, room).replaceAll('\n', `\n${indent}`)}\n`)
    .join('');
}

function wrap(text: string, help: Help): string {
  return help.boxWrap(text, help.helpWidth ?? 80);
}
