/**
 * A websocket of the server extension that carries JSON and comes back by itself: at once after it
 * was opened well, then ever more slowly. It knows nothing of what it carries.
 */
import { URLExt } from '@jupyterlab/coreutils';
import type { ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

export class JsonSocket implements IDisposable {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly path: string
  ) {
    this.open();
  }

  /** Emitted with every message, parsed. */
  get received(): ISignal<this, unknown> {
    return this._received;
  }

  /** Emitted after the socket has opened (true), or has closed or could not be opened (false). */
  get linked(): ISignal<this, boolean> {
    return this._linked;
  }

  get isOpen(): boolean {
    return this.socket?.readyState === 1;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Send now, if open. What must be said on every opening is sent by the owner on `linked`. */
  send(message: unknown): void {
    if (this.isOpen) {
      this.socket?.send(JSON.stringify(message));
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.clearTimeout(this.timer);
    Signal.clearData(this);
    this.drop();
  }

  private open(): void {
    const { wsUrl, token, appendToken, WebSocket } = this.settings;
    const query = appendToken && token ? URLExt.objectToQueryString({ token }) : '';
    // Joined by hand: URLExt.join would encode what is encoded already.
    const socket = new WebSocket(`${wsUrl}${this.path}${query}`);
    this.socket = socket;
    socket.onopen = () => {
      this.waitMs = FIRST_WAIT_MS;
      this._linked.emit(true);
    };
    socket.onmessage = event => {
      this._received.emit(JSON.parse(String(event.data)));
    };
    socket.onclose = () => {
      this.drop();
      this._linked.emit(false);
      // A tenth more or less, so that all pages do not come back in the same moment.
      this.timer = window.setTimeout(
        () => {
          this.open();
        },
        this.waitMs * (0.9 + 0.2 * Math.random())
      );
      this.waitMs = Math.min(2 * this.waitMs, LONGEST_WAIT_MS);
    };
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private socket: WebSocket | null = null;
  private timer = 0;
  private waitMs = FIRST_WAIT_MS;
  private _isDisposed = false;
  private readonly _received = new Signal<this, unknown>(this);
  private readonly _linked = new Signal<this, boolean>(this);
}
