import { Argument, type Command } from 'commander';
import * as z from 'zod';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

/** `bhatti completion SHELL`, and the hidden command that its script asks what could come next. */
export function addCompletionCommand(program: Command, { console, settingsOf }: CommandContext): void {
  program
    .command('completion')
    .description('print the completion script of a shell; images and tasks are completed too')
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .action(async (shell: unknown) => {
      const { completionScript } = await import('../completion.ts');
      console.out(completionScript(z.enum(shells).parse(shell)));
    });
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .allowUnknownOption()
    .action(async (words: string[], _options: unknown, command: Command) => {
      const { complete } = await import('../completion.ts');
      const candidates = await complete(program, words, () => settingsOf(command));
      console.out(candidates.map((candidate) => `${candidate}\n`).join(''));
    });
  addNotes(program, {
    completion: {
      more: [
        'Enable it with one of these lines: bash in ~/.bashrc, zsh in ~/.zshrc after compinit, fish in ~/.config/fish/config.fish.',
      ],
      examples: [
        'source <(bhatti completion bash)',
        'source <(bhatti completion zsh)',
        'bhatti completion fish | source',
      ],
    },
  });
}
