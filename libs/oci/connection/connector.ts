import type { buildConnector } from 'undici';
import { isTlsError } from './network-error.ts';

/**
 * An alert after the handshake, with which TLS 1.3 asks for a client certificate, is followed by the end of the connection, and undici
 * would tell of that alone. A connection that is destroyed at the alert ends for that reason.
 */
export function keepingTlsErrors(connect: buildConnector.connector): buildConnector.connector {
  return (target, callback) =>
    connect(target, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      socket.on('error', (problem) => {
        if (isTlsError(problem)) socket.destroy();
      });
      callback(null, socket);
    });
}
