import type { Command } from 'commander';
import { readConfigFiles } from '../config-file.ts';
import type { ApiClient } from '../server/api-client.ts';
import { connect } from '../server/connection.ts';
import { formatRequestTiming, formatTotalTiming, type RequestTiming } from '../server/timing.ts';
import { versionMismatch } from '../server/version-match.ts';
import { globalFlags, resolveSettings, type Settings } from '../settings.ts';
import type { Console } from '../terminal/console.ts';

/** What commands get to work with: the world around them, and a way to reach a server. */
export interface CommandContext {
  readonly env: NodeJS.ProcessEnv;
  readonly console: Console;
  readonly version: string;
  settingsOf(command: Command): Promise<Settings>;
  /** Runs `action`, which resolves with the exit code, with a client of the server in use, and closes that. */
  withClient(
    command: Command,
    action: (client: ApiClient, settings: Settings) => number | Promise<number>,
  ): Promise<void>;
  /** Sets the exit code of a command that needs no client. */
  exit(code: number): void;
}

/** Returns a function that warns once of a server of another release. */
function warnOnce(version: string, console: Console): (server: string) => void {
  let warned = false;
  return (server) => {
    const mismatch = warned ? undefined : versionMismatch(version, server);
    if (mismatch === undefined) return;
    warned = true;
    console.err(`warning: ${mismatch}\n`);
  };
}

export interface CommandWorld {
  readonly env: NodeJS.ProcessEnv;
  readonly console: Console;
  readonly version: string;
}

/** @param exit called with the exit code of the command that ran */
export function createContext({ env, console, version }: CommandWorld, exit: (code: number) => void): CommandContext {
  const settingsOf = async (command: Command) => {
    const flags = globalFlags.parse(command.optsWithGlobals());
    if (flags.token !== undefined && console.interactive) {
      console.err(
        'warning: a token on the command line stays in the history of the shell; "bhatti setup" keeps it in a file\n',
      );
    }
    return resolveSettings(flags, await readConfigFiles(env, (text) => console.err(`warning: ${text}\n`)), env);
  };
  return {
    env,
    console,
    version,
    settingsOf,
    exit,
    async withClient(command, action) {
      const settings = await settingsOf(command);
      const startedAt = performance.now();
      const onTiming = (timing: RequestTiming) => console.err(formatRequestTiming(timing));
      const client = await connect(settings, {
        onServerVersion: warnOnce(version, console),
        ...(settings.timing && { onTiming }),
      });
      try {
        exit(await action(client, settings));
      } finally {
        if (settings.timing) console.err(formatTotalTiming(startedAt, performance.now()));
        client.close();
      }
    },
  };
}
