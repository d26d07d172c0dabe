/** The program behind `bhatti rootfs build`: a process of its own, so that the CLI starts without loading it. */
import { setMaxListeners } from 'node:events';
import { processConsole } from '../terminal/console.ts';
import { endProcess, endWhereOutputFails } from '../terminal/output-failure.ts';
import { buildLocally } from './local-build.ts';
import { BuildRequest } from './request.ts';

endWhereOutputFails();
const request = BuildRequest.parse(JSON.parse(process.argv[2] ?? ''));
const stop = new AbortController();
// Each layer under way listens, of which there are as many as processors; Node warns of a leak at eleven.
setMaxListeners(Number.POSITIVE_INFINITY, stop.signal);
// SIGHUP: its terminal was closed.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort());

endProcess(await buildLocally(request, { env: process.env, console: processConsole, signal: stop.signal }));
