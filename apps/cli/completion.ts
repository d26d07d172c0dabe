import type { Command } from 'commander';
import { ancestors, positionOf } from './command-position.ts';
import type { ApiClient } from './server/api-client.ts';
import { connectRunning } from './server/connection.ts';
import type { Settings } from './settings.ts';

/** The script that a shell sources. It asks `bhatti __complete WORDS`, where the last word is the one being typed. */
export function completionScript(shell: 'bash' | 'zsh' | 'fish'): string {
  if (shell === 'bash') {
    return `_bhatti() {
  mapfile -t COMPREPLY < <(bhatti __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _bhatti bhatti
`;
  }
  if (shell === 'zsh') {
    return `_bhatti() {
  local -a candidates
  candidates=("\${(@f)$(bhatti __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if (( \${#candidates} )) && [[ -n $candidates[1] ]]; then compadd -a candidates; else _files; fi
}
compdef _bhatti bhatti
`;
  }
  // Files are offered where nothing else can stand.
  return `function __bhatti_ask
  set -l words (commandline -opc) (commandline -ct)
  set -g __bhatti_candidates (bhatti __complete -- $words[2..-1] 2>/dev/null)
  test (count $__bhatti_candidates) -gt 0
end
complete -c bhatti -n __bhatti_ask -f -a '$__bhatti_candidates'
`;
}

/**
 * Candidates for the last of `words`: commands, flags, values of flags with choices, names of images, ids of tasks. None,
 * rather than an error, if the server cannot be asked; it is never started for this.
 */
export async function complete(
  program: Command,
  words: readonly string[],
  settings: () => Promise<Settings>,
): Promise<string[]> {
  const typed = words.at(-1) ?? '';
  const { command, operands, optionAwaitingValue } = positionOf(program, words.slice(0, -1));
  return (await candidates()).filter((candidate) => candidate.startsWith(typed));

  async function candidates(): Promise<string[]> {
    if (optionAwaitingValue !== undefined) return optionAwaitingValue.argChoices ?? [];
    if (typed.startsWith('-')) return [command, ...ancestors(command)].flatMap(flags);
    const visible = command.createHelp().visibleCommands(command);
    if (visible.length > 0 && operands.length === 0) return visible.map((child) => child.name());
    const last = command.registeredArguments.at(-1);
    const argument = command.registeredArguments[operands.length] ?? (last?.variadic ? last : undefined);
    if (argument === undefined) return [];
    if (argument.argChoices !== undefined) return argument.argChoices;
    const group = command.parent?.name();
    if (group === 'image' && argument.name() === 'name') return names(settings, imageNames);
    if (group === 'task' && argument.name() === 'id') {
      return names(settings, command.name() === 'cancel' ? cancellableIds : taskIds);
    }
    return [];
  }
}

function flags(command: Command): string[] {
  return command.options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []);
}

const imageNames = async (client: ApiClient) => (await client.images()).map(({ name }) => name);
const latestTasks = (client: ApiClient) => client.tasks({ limit: 50 });
const taskIds = async (client: ApiClient) => (await latestTasks(client)).map(({ id }) => id);
/** Those under way come first in the list. */
const cancellableIds = async (client: ApiClient) =>
  (await latestTasks(client)).filter(({ status }) => status === 'queued' || status === 'running').map(({ id }) => id);

/** What the names of images and tasks are made of: whatever else a server says could be a command to the shell. */
const harmless = /^\w[\w.-]*$/;

async function names(settings: () => Promise<Settings>, read: (client: ApiClient) => Promise<string[]>) {
  try {
    const client = await connectRunning(await settings(), {});
    try {
      return client === undefined ? [] : (await read(client)).filter((name) => harmless.test(name));
    } finally {
      client?.close();
    }
  } catch {
    return [];
  }
}
