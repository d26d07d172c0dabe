import { type Agent, buildConnector, Pool, ProxyAgent } from 'undici';
import * as z from 'zod';
import { keepingTlsErrors } from './connector.ts';
import { ProxyError } from './network-error.ts';

export interface ProxyAgentOptions extends Agent.Options {
  readonly proxy: URL;
  /** For TLS with the hosts behind the proxy. */
  readonly requestTls: buildConnector.BuildOptions;
  /** For the connection to the proxy. */
  readonly proxyTls: buildConnector.BuildOptions;
  /** Longest wait for the proxy's answer, in ms, before which it connects to the host. */
  readonly tunnelTimeoutMs: number;
}

/** The options with which undici has the pool of a host behind the proxy made: there, `connect` opens a tunnel. */
const tunnelling = z.looseObject({
  connect: z.custom<buildConnector.connector>((value) => typeof value === 'function'),
});

/**
 * undici's agent for a proxy, of whose failures it is known that they are the proxy's. That the proxy ends the connection is a failure,
 * too: undici connects again at once and for ever then, since to it that is what happens to kept connections.
 */
export function createProxyAgent({
  proxy,
  requestTls,
  proxyTls,
  tunnelTimeoutMs,
  ...options
}: ProxyAgentOptions): ProxyAgent {
  const failures = new WeakSet<Error>();
  const note = (...[, , error]: readonly [URL, unknown, Error]): void => {
    failures.add(error);
  };
  return new ProxyAgent({
    ...options,
    uri: proxy.href,
    requestTls,
    // undici would speak TLS to a SOCKS proxy, which no SOCKS proxy does.
    ...(!proxy.protocol.startsWith('socks') && { proxyTls }),
    clientFactory: (origin) =>
      new Pool(origin, { connect: keepingTlsErrors(buildConnector(proxyTls)), headersTimeout: tunnelTimeoutMs })
        .on('connectionError', note)
        .on('disconnect', note),
    factory: (origin, given) => {
      const { connect, ...rest } = tunnelling.parse(given);
      return new Pool(origin, { ...rest, connect: keepingTlsErrors(blaming(connect, failures)) });
    },
  });
}

/** Connects by a tunnel, and tells whether a failure to do so is the proxy's. */
function blaming(connect: buildConnector.connector, failures: WeakSet<Error>): buildConnector.connector {
  return (target, callback) =>
    connect(target, (...[error, socket]) => {
      if (error === null) callback(null, socket);
      else callback(failures.has(error) ? new ProxyError(error) : error, null);
    });
}
