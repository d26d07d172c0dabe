import type { ClientRequest } from 'node:http';

/** Times of a request in ms. The first three are 0 when a connection was open already. */
export interface HttpTimes {
  /** Until the name was resolved. */
  readonly dns: number;
  /** From then until the connection was established. */
  readonly connect: number;
  /** From then until the end of the TLS handshake. */
  readonly tls: number;
  /** From then until the headers of the answer. */
  readonly server: number;
}

/** Measures the times of a request that is sent as soon as it is created. */
export class RequestClock {
  readonly #sentAt = performance.now();
  #resolvedAt = this.#sentAt;
  #connectedAt = this.#sentAt;
  #readyAt = this.#sentAt;

  /** @param secure whether its connection is to be encrypted */
  watch(request: ClientRequest, secure: boolean): void {
    request.once('socket', (socket) => {
      if (!socket.connecting) {
        // A tunnel is connected and encrypted when it is handed over.
        if (!request.reusedSocket) this.#connected();
        return;
      }
      socket.once('lookup', () => {
        this.#resolvedAt = performance.now();
        this.#connectedAt = this.#resolvedAt;
      });
      socket.once('connect', () => this.#connected());
      if (secure) socket.once('secureConnect', () => this.#ready());
    });
  }

  /** Whether a connection was made for the request. */
  get isConnected(): boolean {
    return this.#readyAt !== this.#sentAt;
  }

  /** To be called when the headers of the answer arrive. */
  times(): HttpTimes {
    return {
      dns: this.#resolvedAt - this.#sentAt,
      connect: this.#connectedAt - this.#resolvedAt,
      tls: this.#readyAt - this.#connectedAt,
      server: performance.now() - this.#readyAt,
    };
  }

  #connected(): void {
    this.#connectedAt = performance.now();
    this.#readyAt = this.#connectedAt;
  }

  #ready(): void {
    this.#readyAt = performance.now();
  }
}
