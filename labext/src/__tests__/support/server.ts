/** A Jupyter server for unit tests: answers what a test tells it to, and holds the page's sockets. */
import { ServerConnection } from '@jupyterlab/services';

export interface IAnswer {
  readonly status?: number;
  readonly json?: unknown;
  readonly text?: string;
}

export interface IRequest {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

/** A socket of the page, played from the server's side. */
export class FakeSocket {
  constructor(readonly url: string) {
    FakeSocket.opened.push(this);
  }

  static opened: FakeSocket[] = [];

  static last(path: string): FakeSocket {
    const found = FakeSocket.opened.filter(socket => socket.url.includes(path)).at(-1);
    if (!found) {
      throw new Error(`no socket was opened for ${path}`);
    }
    return found;
  }

  readyState = 0;
  sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  accept(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  drop(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

export class FakeServer {
  constructor() {
    FakeSocket.opened = [];
  }

  readonly requests: IRequest[] = [];
  /** Answers by 'METHOD path'; a function decides at the time. */
  readonly answers = new Map<string, IAnswer | (() => IAnswer)>();

  readonly settings = ServerConnection.makeSettings({
    baseUrl: 'http://test.example/base/',
    wsUrl: 'ws://test.example/base/',
    token: 'the token',
    appendToken: true,
    fetch: (input: RequestInfo | URL, init?: RequestInit) => this.answer(new Request(input, init)),
    WebSocket: FakeSocket as unknown as typeof WebSocket
  });

  private async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const path = url.pathname.replace('/base/cellspan/', '');
    const text = await request.text();
    this.requests.push({
      method: request.method,
      path,
      body: text ? (JSON.parse(text) as unknown) : null
    });
    const found = this.answers.get(`${request.method} ${path}`);
    if (!found) {
      throw new TypeError('NetworkError: nobody is there');
    }
    const { status = 200, json, text: raw } = typeof found === 'function' ? found() : found;
    const body = raw ?? (json === undefined ? null : JSON.stringify(json));
    return new Response(status === 204 ? null : body, { status });
  }
}

/** A cluster as the server writes it. */
export function clusterJson(name: string, change: object = {}): object {
  return {
    name,
    id: `id of ${name}`,
    state: 'running',
    reason: null,
    workers: 1,
    wanted: 1,
    cores: 2,
    slots: 2,
    memory_bytes: 10,
    memory_limit_bytes: 100,
    tasks: { done: 0, running: 0, waiting: 0, failed: 0 },
    lifetime: 'server',
    idle_timeout_s: null,
    interpreter: '/usr/bin/python3',
    answers: true,
    ...change
  };
}
