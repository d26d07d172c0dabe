import type { Command } from 'commander';

/** What the help of a command says besides its arguments and flags. */
export interface CommandNotes {
  /** Command lines as people type them. */
  readonly examples?: readonly string[];
  /** Sentences, a paragraph each. */
  readonly more?: readonly string[];
  /** `code meaning`; by default 0 and 1. */
  readonly exitCodes?: string;
}

const notes = new WeakMap<Command, CommandNotes>();

/** Sets the notes of commands below `parent`, by their names. */
export function addNotes(parent: Command, byName: Readonly<Record<string, CommandNotes>>): void {
  for (const [name, said] of Object.entries(byName)) {
    const command = parent.commands.find((one) => one.name() === name);
    if (command === undefined) throw new Error(`there is no command ${name} to have notes`);
    notes.set(command, said);
  }
}

export function notesOf(command: Command): Required<CommandNotes> {
  return { examples: [], more: [], exitCodes: usualExitCodes, ...notes.get(command) };
}

/** A command that only has others below it. */
export function isGroup(command: Command): boolean {
  return command.commands.length > 0 && command.parent !== null && !notes.has(command);
}

export const usualExitCodes = '0 done, 1 error';
export const watchingExitCodes = '0 done, 1 error, 130 detached by Ctrl+C (the task goes on)';
