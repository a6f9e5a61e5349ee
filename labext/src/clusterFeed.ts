/**
 * The columns of one cluster's views: one socket for all panes of this page that show them, open only
 * while one of them looks. The server keeps it alive through the cluster's end and return.
 */
import type { ServerConnection } from '@jupyterlab/services';
import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { readColumns, watchPath } from './clusterApi';
import { JsonSocket } from './jsonSocket';
import type { ViewColumns } from './tokens';

export type ColumnsListener = (columns: ViewColumns) => void;

export class ClusterFeed implements IDisposable {
  constructor(
    private readonly settings: ServerConnection.ISettings,
    private readonly cluster: string
  ) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Give `listener` the columns of a view with each snapshot, until disposed. */
  subscribe(view: string, listener: ColumnsListener): IDisposable {
    const entry: [string, ColumnsListener] = [view, listener];
    this.listeners.add(entry);
    this.update();
    return new DisposableDelegate(() => {
      this.listeners.delete(entry);
      this.update();
    });
  }

  dispose(): void {
    this._isDisposed = true;
    this.listeners.clear();
    this.update();
  }

  private update(): void {
    if (this.listeners.size === 0) {
      this.socket?.dispose();
      this.socket = null;
    } else if (this.socket) {
      this.ask();
    } else {
      this.socket = new JsonSocket(this.settings, watchPath(this.cluster));
      this.socket.linked.connect((_, isOpen) => {
        if (isOpen) {
          this.ask();
        }
      });
      this.socket.received.connect((_, message) => {
        this.hand(message);
      });
    }
  }

  private ask(): void {
    this.socket?.send({ views: [...new Set([...this.listeners].map(([view]) => view))] });
  }

  private hand(message: unknown): void {
    const columns = new Map(Object.entries(readColumns(message) ?? {}));
    for (const [view, listener] of [...this.listeners]) {
      const found = columns.get(view);
      if (found) {
        listener(found);
      }
    }
  }

  private socket: JsonSocket | null = null;
  private _isDisposed = false;
  private readonly listeners = new Set<[string, ColumnsListener]>();
}
