import type { Command, Option } from 'commander';

/** How far the words of a command line lead into the tree of commands. */
export interface Position {
  /** The last command that they name. */
  readonly command: Command;
  /** Its arguments so far: words that are neither a command nor a flag nor a flag's value. */
  readonly operands: readonly string[];
  /** The option whose value comes next. */
  readonly optionAwaitingValue: Option | undefined;
}

/** Reads `words` as commander would, with flags before and behind the commands. */
export function positionOf(program: Command, words: readonly string[]): Position {
  let command = program;
  const operands: string[] = [];
  let optionAwaitingValue: Option | undefined;
  for (const word of words) {
    if (optionAwaitingValue !== undefined) {
      optionAwaitingValue = undefined;
      continue;
    }
    if (word.startsWith('-') && word !== '-') {
      const options = [command, ...ancestors(command)].flatMap((one) => one.options);
      const option = options.find(({ long, short }) => word === long || word === short);
      optionAwaitingValue = option?.required ? option : undefined;
      continue;
    }
    const child = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (child === undefined || operands.length > 0) operands.push(word);
    else command = child;
  }
  return { command, operands, optionAwaitingValue };
}

/** The commands above one, its parent first. */
export function ancestors(command: Command): Command[] {
  return command.parent === null ? [] : [command.parent, ...ancestors(command.parent)];
}
