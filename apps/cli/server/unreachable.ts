/** What to print when no answer came. */
export interface Explanation {
  readonly message: string;
  readonly hint: string;
}

const untrusted = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);

/** `where` is the URL or the path of the socket; `code` an error code of the system, or of Node's TLS or HTTP. */
export function explainUnreachable(where: string, code: string): Explanation {
  if (untrusted.has(code)) {
    return {
      message: `the certificate of ${where} is not from a known authority (${code})`,
      hint: 'If it is from an authority of your own, name the file of its certificate: NODE_EXTRA_CA_CERTS=/path/ca.pem',
    };
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      message: `the certificate of ${where} is for other names (${code})`,
      hint: 'Use a URL with one of its names.',
    };
  }
  if (code === 'CERT_HAS_EXPIRED') {
    return { message: `the certificate of ${where} has expired (${code})`, hint: 'Renew it at the server.' };
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) {
    return { message: `what answers at ${where} does not speak TLS (${code})`, hint: 'Is its URL http:// instead?' };
  }
  if (code.startsWith('HPE_')) {
    return { message: `what answers at ${where} does not speak HTTP (${code})`, hint: 'Check the port of the URL.' };
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return {
      message: `the name of ${where} is not known (${code})`,
      hint: 'Check the URL for typing errors, and the network.',
    };
  }
  if (code === 'ECONNRESET' && where.startsWith('http:')) {
    return {
      message: `${where} closes the connection without an answer (${code})`,
      hint: 'Check the port of the URL, and whether it is https:// instead.',
    };
  }
  return {
    message: `no bhatti server answers at ${where} (${code})`,
    hint: 'Check the URL and the network; "bhatti serve status" on the server tells whether it runs.',
  };
}

/** The same for a connection that broke while an archive was sent. */
export function explainCutUpload(where: string, code: string): Explanation {
  return {
    message: `the connection to ${where} broke while the archive was sent (${code})`,
    hint: 'Run the same command again. If it breaks each time, look whether the server runs, and what a proxy before it allows.',
  };
}

/** The same for a proxy that did not answer, or refused with `status`. */
export function explainProxy(proxy: string, where: string, code: string, status: number | undefined): Explanation {
  const without = 'A server whose host stands in NO_PROXY is asked without it.';
  if (status === undefined) {
    return {
      message: `the proxy ${proxy} on the way to ${where} cannot be reached (${code})`,
      hint: `Check HTTPS_PROXY and HTTP_PROXY. ${without}`,
    };
  }
  return {
    message: `the proxy ${proxy} does not lead to ${where} (${code})`,
    hint:
      status === 407
        ? 'It wants a name and a password: HTTPS_PROXY=http://name:password@host:port (HTTP_PROXY for http://).'
        : `It may not allow that host, or not reach it. ${without}`,
  };
}
