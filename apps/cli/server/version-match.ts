/** The warning for client and server of different minor releases, which may not understand each other; undefined if they fit. */
export function versionMismatch(client: string, server: string): string | undefined {
  const [ours, theirs] = [release(client), release(server)];
  if (ours === undefined || theirs === undefined || ours.join('.') === theirs.join('.')) return undefined;
  const [ourMajor, ourMinor] = ours;
  const [theirMajor, theirMinor] = theirs;
  const older = theirMajor === ourMajor ? theirMinor < ourMinor : theirMajor < ourMajor;
  const advice = older ? 'update the server, or restart it if it is updated' : 'update this program';
  return `bhatti is ${client} here and ${server} at the server; ${advice}`;
}

function release(version: string): readonly [number, number] | undefined {
  const match = /^(\d+)\.(\d+)\./.exec(version);
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}
